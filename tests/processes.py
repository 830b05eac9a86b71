"""Processes as the kernel sees them."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

SECONDS = 20


def until(condition: Callable[[], object]) -> None:
    """Return once it holds."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether it runs; one that waits for its burial does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def seconds_of_work(pid: int) -> float:
    """CPU time so far."""
    used = psutil.Process(pid).cpu_times()
    return used.user + used.system


def page_faults(pid: int) -> int:
    """How often the kernel had to find a page of memory for it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[7])


def resident_bytes(pid: int) -> int:
    """What it has in memory."""
    return psutil.Process(pid).memory_info().rss


def decoders_of(parent: int) -> set[int]:
    """The processes that decode images for it."""
    found = set()
    for child in psutil.Process(parent).children():
        with suppress(psutil.NoSuchProcess):  # it ended, or waits for its burial
            if alive(child.pid) and "worker.gpu.decoder" in child.cmdline():
                found.add(child.pid)
    return found
