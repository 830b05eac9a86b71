"""Whether what the processes hold grows with the jobs that they have done."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import linear_regression
from typing import Any

BOUNDS = {"rss": 512.0, "used_memory": 64.0, "fds": 0.002, "threads": 0.002, "keys": 0.001}
"""By job. A job's record is 2 KiB and more in Redis and in Python: a process that kept anything of
each job would pass these several times over. An allocator that settles stays below; of Redis,
which counts its bytes exactly, less is borne with."""
WARM_UP = 0.25
"""Of the jobs: caches fill, connections open, allocators find their size."""


@dataclass(frozen=True)
class Trend:
    """How one measure of one process went on after the warm-up."""

    process: str
    measure: str
    first: float
    last: float
    per_job: float
    """By the line that fits best."""

    @property
    def is_flat(self) -> bool:
        """Whether it grows by no more than is borne with."""
        return self.per_job <= BOUNDS[self.measure]


def trends(samples: Sequence[dict[str, Any]]) -> list[Trend]:
    """Of everything that was measured; `samples` as `infra.soak` takes them, three at the least."""
    jobs = samples[-1]["jobs"]
    settled = [sample for sample in samples if sample["jobs"] >= jobs * WARM_UP]
    counts = [sample["jobs"] for sample in settled]
    return [
        Trend(process, measure, values[0], values[-1], linear_regression(counts, values).slope)
        for process, measure, values in _series(settled)
    ]


def _series(samples: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str, list[float]]]:
    series: dict[tuple[str, str], list[float]] = {}
    for sample in samples:
        for process, held in sample["processes"].items():
            for measure, value in held.items():
                if measure in BOUNDS:
                    series.setdefault((process, measure), []).append(value)
    for (process, measure), values in series.items():
        yield process, measure, values
