"""Processes as the kernel sees them."""

import os
import time
from collections.abc import Callable
from pathlib import Path

SECONDS = 20
TICKS = os.sysconf("SC_CLK_TCK")


def until(condition: Callable[[], object]) -> None:
    """Return once it holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether it runs; one that waits for its burial does not."""
    return _stat(pid)[0] not in "ZX"


def seconds_of_work(pid: int) -> float:
    """CPU time so far."""
    return sum(map(int, _stat(pid)[11:13])) / TICKS


def resident_bytes(pid: int) -> int:
    """What it has in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def decoders_of(parent: int) -> set[int]:
    """The processes that decode images for it."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    children = {pid for pid in pids if _stat(pid)[1] == str(parent) and alive(pid)}
    return {pid for pid in children if "worker.gpu.decoder" in _command(pid)}


def _stat(pid: int) -> list[str]:
    """Its state, its parent and so on; of one that is gone, as of a dead one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ["X", *"0" * 20]


def _command(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []
