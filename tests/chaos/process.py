"""What a chaos run does inside the service's own processes, from outside their code.

Its links to Redis and S3 lead through the proxy, its clock can be moved while it runs, its device
notes each sample that it begins, and a broken build is broken here.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "CHAOS"
LOOK_SECONDS = 0.5
"""How often a process looks whether its clock was moved."""


@dataclass(frozen=True)
class Orders:
    """What one run tells its processes."""

    folder: str
    settings: Mapping[str, Mapping[str, str]]
    """By kind of process: what it is told instead of what the others are."""
    broken: str = ""

    def environment(self) -> dict[str, str]:
        """Has every Python process that gets it read its orders."""
        root = Path(__file__).resolve().parents[2]
        path = os.pathsep.join((str(root / "tests" / "chaos" / "site"), str(root)))
        return {VARIABLE: json.dumps(asdict(self)), "PYTHONPATH": path}


def clock_file(folder: str | Path, name: str) -> Path:
    """Holds the seconds by which the process of this name is off."""
    return Path(folder) / f"clock-{name}"


def executions_file(folder: str | Path) -> Path:
    """One line, a job's id, for each sample that any device began."""
    return Path(folder) / "executions"


def tamper() -> None:
    """Follow the orders, if this is a process of the service."""
    orders = Orders(**json.loads(os.environ[VARIABLE]))
    name = _own_name()
    kind, _, _ = name.partition("-")
    if kind not in orders.settings:
        return
    os.environ.update(orders.settings[kind])
    _move_the_clock(clock_file(orders.folder, name))
    if orders.broken:
        from tests.chaos.broken import BUILDS  # noqa: PLC0415 - it imports the service

        BUILDS[orders.broken]()
    if kind == "simulated":
        _note_executions(executions_file(orders.folder))


def _own_name() -> str:
    if ready_file := os.environ.get("IMG2IMG_READY_FILE"):
        return Path(ready_file).stem
    return "api" if "api.app:create_app" in sys.orig_argv else ""


def _move_the_clock(file: Path) -> None:
    real, monotonic = time.time, time.monotonic
    off, looked = 0.0, 0.0

    def moved() -> float:
        nonlocal off, looked
        if monotonic() - looked > LOOK_SECONDS:
            looked = monotonic()
            try:
                off = float(file.read_text())
            except (OSError, ValueError):
                off = 0.0
        return real() + off

    time.time = moved


def _note_executions(file: Path) -> None:
    from infra.simulated.device import CountingModel  # noqa: PLC0415

    begin = CountingModel.begin

    def noted(self, sample):
        with file.open("ab", buffering=0) as log:
            log.write(b"%d\n" % sample.job_id)
        begin(self, sample)

    CountingModel.begin = noted
