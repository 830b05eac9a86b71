"""Jobs a second of the whole service with ever more workers, and then with ever faster ones.

A faster device is one whose jobs have fewer steps.
"""

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import linear_regression, median
from typing import Any

from infra.bench.demand import Customers, demand
from infra.bench.processes import cpu_by_process
from infra.bench.report import Effort, Row, Watch, in_turns, ratio_row
from infra.local import Stack

WORKERS = ("simulated", "simulated-2", "simulated-3", "simulated-4")
PROCESSES = ("redis", "s3", *WORKERS, "courier", "api")
SETTINGS = {"IMG2IMG_OUTBOUND_ALLOW": "127.0.0.1", "IMG2IMG_LOG_LEVEL": "WARNING"}
JOBS = 128
"""In the service at any time: more than all workers have slots, so that some always wait."""
SLOTS = 16
LINEAR = 0.95
REAL = 10.0
"""Images a second of one GPU with Stable Diffusion 1.5: an assumption."""


@dataclass(frozen=True)
class Point:
    """The service with so many workers."""

    workers: int
    speed: float
    """Of their devices, where the slowest are 1."""
    rate: float
    """Jobs a second."""
    cores: Mapping[str, float]
    """Seconds on a core a second, of each process."""

    @property
    def by_kind(self) -> dict[str, float]:
        """The same, of each kind of process."""
        used = dict[str, float]()
        for name, cores in self.cores.items():
            kind, _, _ = name.partition("-")
            used[kind] = used.get(kind, 0.0) + cores
        return used

    @property
    def per_job(self) -> dict[str, float]:
        """Seconds on a core for a job, by kind of process."""
        return {kind: cores / self.rate for kind, cores in self.by_kind.items()}


def measure(effort: Effort, watch: Watch) -> tuple[dict[str, Any], list[Row]]:
    """With one worker more and more, and back; then with all of them on faster devices."""
    slowest, *faster = effort.growth_steps
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(folder, port=0, env=SETTINGS, processes=PROCESSES) as stack,
        demand(stack.url, stack.key, jobs=JOBS, steps=slowest) as customers,
    ):
        growing = []
        # The most first: they run already.
        for done, workers in in_turns(range(len(WORKERS), 0, -1), effort.growth_rounds):
            watch(0.8 * done, f"{workers} workers")
            _run_workers(stack, workers)
            growing.append(_point(stack, customers, workers, 1, effort.growth_jobs))
        hurrying = []
        _run_workers(stack, len(WORKERS))
        for done, steps in enumerate(faster):
            speed = slowest / steps
            watch(0.8 + 0.2 * done / len(faster), f"devices {speed:g} times as fast")
            customers.steps = steps
            customers.await_ends(JOBS)
            jobs = 2 * effort.growth_jobs
            hurrying.append(_point(stack, customers, len(WORKERS), speed, jobs))
    results = {"growing": growing, "hurrying": hurrying}
    kept = {name: [asdict(point) for point in points] for name, points in results.items()}
    return kept, _rows(growing, hurrying)


def _run_workers(stack: Stack, workers: int) -> None:
    """So many of them."""
    for number, name in enumerate(WORKERS):
        if number >= workers:
            stack.stop_process(name)
        elif stack.processes[name].pid is None:
            stack.start_process(name)


def _point(stack: Stack, customers: Customers, workers: int, speed: float, jobs: int) -> Point:
    """Once all workers are busy, the ends of so many jobs of each."""
    customers.await_ends(SLOTS * workers)
    first, began, used = len(customers.ends), time.monotonic(), cpu_by_process(stack)
    customers.await_ends(jobs * workers)
    seconds, used_then = time.monotonic() - began, cpu_by_process(stack)
    ends = sorted(customers.ends[first : first + jobs * workers])
    cores = {name: (used_then[name] - used[name]) / seconds for name in used}
    # A line through all of them: the first and the last may come in a burst.
    rate = linear_regression(ends, range(len(ends))).slope
    return Point(workers, speed, rate, cores)


def _rows(growing: Sequence[Point], hurrying: Sequence[Point]) -> list[Row]:
    rates = {
        workers: [point.rate for point in growing if point.workers == workers]
        for workers in range(1, len(WORKERS) + 1)
    }
    one = median(rates[1])
    fastest = max(hurrying, key=lambda point: point.rate)
    return [
        Row("whole service, jobs/s: 1 simulated worker", f"{one:.1f}"),
        *(
            ratio_row(
                f"  {workers} workers / {workers} x 1 worker",
                rates[workers],
                [workers * alone for alone in rates[1]],
                least=LINEAR,
            )
            for workers in range(2, len(WORKERS) + 1)
        ),
        Row(f"  cores in use, {len(WORKERS)} workers", _cores(growing[0])),
        Row("  linear up to", limit([*growing, *hurrying], one)),
        Row("  cores in use, fastest devices", _cores(fastest)),
        Row("  busiest process then", _busiest(fastest)),
        Row("  ms on a core for a job", _in_words(fastest.per_job, times=1000)),
        *(
            Row(f"  1 {kind} alone would bear", _bears(fastest.per_job[kind]))
            for kind in ("redis", "api")
        ),
    ]


def linear(one: float, point: Point) -> float:
    """Jobs a second if each worker, and each device, brought as much as the first."""
    return one * point.workers * point.speed


def limit(points: Sequence[Point], one: float) -> str:
    """The most jobs a second that were still linear, and the next that were not."""
    share = {point.rate: point.rate / linear(one, point) for point in points}
    missed = min((rate for rate in share if share[rate] < LINEAR), default=None)
    held = max((rate for rate in share if missed is None or rate < missed), default=one)
    said = f"{held:.0f} jobs/s, {held / one:.0f} such workers"
    return f"{said}; {missed:.0f} jobs/s are {share[missed]:.2f} of it" if missed else said


def _cores(point: Point) -> str:
    return f"{sum(point.cores.values()):.2f} of {os.cpu_count()}: {_in_words(point.by_kind)}"


def _busiest(point: Point) -> str:
    name = max(point.cores, key=lambda name: point.cores[name])
    return f"{name}, {point.cores[name]:.2f} of a core"


def _in_words(values: Mapping[str, float], times: float = 1) -> str:
    return ", ".join(f"{name} {value * times:.2f}" for name, value in values.items())


def _bears(seconds: float) -> str:
    return f"{1 / seconds:,.0f} jobs/s, {1 / seconds / REAL:,.0f} GPUs at {REAL:g} images/s"
