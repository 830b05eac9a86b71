"""How long a job will take, from what others of its pool took: pure functions of what was measured.

A job takes longer in company, so each kind is measured for itself: `busy`, ended while others
waited; `shared`, no less than one other for each worker ran beside it; `calm`, the rest. And only
while others wait the ends show how much a worker gets done.
"""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Self

LEAST = 1.0
"""Seconds: no eta is shorter."""
FIRST_BOUND = 2.3
"""Before the first job has shown how far an expectation may be off."""
SPREAD = 0.1
"""Jobs whose work differs less, relative to its mean, do not show what more of it takes."""

Kind = Literal["calm", "shared", "busy"]
NEAREST: dict[Kind, tuple[Kind, ...]] = {
    "calm": ("calm", "shared", "busy"),
    "shared": ("shared", "busy", "calm"),
    "busy": ("busy", "shared", "calm"),
}
"""What stands in while there is no measure of a kind, the next best first."""


@dataclass(frozen=True, slots=True)
class Service:
    """What jobs took lately: sums in which each job counts a little less than the one after it."""

    jobs: float
    work: float
    seconds: float
    """From claim to end."""
    work_squared: float
    work_seconds: float
    gaps: float
    """Seconds between the ends of two jobs at one worker, or since the later of them began."""

    @classmethod
    def read(cls, kind: Kind, fields: Mapping[str, str]) -> dict[str, Self]:
        """From the hash that `finish.lua` keeps: all jobs of the kind, and those of each size."""
        sums: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for name, value in fields.items():
            measure, _, size = name.partition(":")
            sums[_of_size(kind, size)][measure] = float(value)
        return {name: cls(**measures) for name, measures in sums.items()}

    @property
    def mean_work(self) -> float:
        """Of a job, in megapixel steps."""
        return self.work / self.jobs

    @property
    def mean(self) -> float:
        """Seconds of a job."""
        return self.seconds / self.jobs

    @property
    def share(self) -> float:
        """The part of a job's seconds that a worker has for it alone; 1: one after another."""
        return self.gaps / self.seconds if self.seconds else 1.0

    def takes(self, work: float) -> float:
        """Seconds of a job with so much work: a fixed part, and one for each megapixel step."""
        spread = self.work_squared / self.jobs - self.mean_work**2
        if spread < (SPREAD * self.mean_work) ** 2:
            return self.mean * max(1.0, work / self.mean_work)
        slope = (self.work_seconds / self.jobs - self.mean_work * self.mean) / spread
        slope = min(max(slope, 0.0), self.mean / self.mean_work)
        return self.mean + slope * (work - self.mean_work)


UNKNOWN = Service(jobs=1, work=5.5, seconds=10, work_squared=5.5**2, work_seconds=55, gaps=10)
"""Before anything was measured: 30 steps at strength 0.7 and 512x512 as if they took 10 s."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """When a job ends, as far as anybody can tell."""

    seconds: float
    of: str
    """What it stands on: a kind, and mostly a size."""
    bound: float

    @property
    def eta(self) -> float:
        """Seconds by which it is over, at least 1: a client may sleep so long and ask once."""
        return math.ceil(10 * max(LEAST, self.seconds * self.bound)) / 10


@dataclass(frozen=True, slots=True)
class Load:
    """How busy a pool is."""

    waiting: int
    backlog: float = 0.0
    """The work of those that wait."""
    running: int = 0
    """Jobs of all pools that run, without the one that is asked about."""
    workers: int = 0
    """Those that live."""
    slots: int = 0
    """Jobs that they run at a time."""
    services: Mapping[str, Service] = field(default_factory=dict)
    """Those that were measured, by kind, and by kind and size."""
    bounds: Mapping[str, float] = field(default_factory=dict)
    """Likewise: so many times its expectation hardly any job takes."""
    is_paused: bool = False
    """By an operator: nothing more is published."""

    @property
    def seconds(self) -> float | None:
        """What a job takes, on average; None before the first one."""
        return self._service("busy").mean if self.services else None

    def before(
        self, turns: int, work: float | None = None, *, size: str = "", rounds: float = 0.0
    ) -> Expectation:
        """Of a job that waits, with `turns` others before it; work None: as much as the mean.

        It begins when enough of those before it have ended, and `rounds` of its own tenant's.
        """
        ends = max(0, turns + 1 + min(self.running, self.slots) - max(1, self.slots))
        # Where others run, more may come before it ends.
        kind: Kind = "busy" if ends or self.running else "calm"
        usual = self.backlog / self.waiting if self.waiting and self.backlog > 0 else None
        others, drained = self._service(kind), self.services.get("busy")
        other = others.takes(usual or others.mean_work)
        each = other * (drained.share if drained else 1.0)
        begins = max(ends * each / max(1, self.workers), rounds * other)
        own = self._service(kind, size)
        own_seconds = own.takes(own.mean_work if work is None else work)
        return self._expectation(begins + own_seconds, kind, size)

    def during(self, work: float, done: float, *, size: str = "") -> Expectation:
        """Of a job that runs and has so much of its steps, 0 to 1, behind it."""
        shared = self.running >= max(1, self.workers)
        kind: Kind = "busy" if self.waiting else "shared" if shared else "calm"
        return self._expectation(self._service(kind, size).takes(work * (1 - done)), kind, size)

    def _service(self, kind: Kind, size: str = "") -> Service:
        names = [name for near in NEAREST[kind] for name in (_of_size(near, size), near)]
        return next((self.services[name] for name in names if name in self.services), UNKNOWN)

    def _expectation(self, seconds: float, kind: Kind, size: str) -> Expectation:
        of = _of_size(kind, size)
        return Expectation(seconds, of, self.bounds.get(of, FIRST_BOUND))


def _of_size(kind: Kind, size: str) -> str:
    return f"{kind}:{size}" if size else kind
