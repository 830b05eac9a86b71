"""What a process and its descendants hold, and the time that they have had on a core."""

from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Vitals:
    """Of a process and its descendants."""

    rss: int
    """Bytes."""
    fds: int
    threads: int


def vitals(pid: int) -> Vitals:
    """What they hold now; ProcessLookupError when the process is over."""
    held = list(filter(None, map(_held, _family(pid))))
    if not held:
        raise ProcessLookupError(f"process {pid} is over")
    return Vitals(*map(sum, zip(*held, strict=True)))


def cpu_seconds(pid: int) -> float:
    """On a core so far, of those that live; 0 when the process is over."""
    return sum(map(_seconds, _family(pid)))


def _family(pid: int) -> list[psutil.Process]:
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _held(process: psutil.Process) -> tuple[int, int, int] | None:
    try:
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:  # it ended and nobody has asked how
                return None
            return process.memory_info().rss, process.num_fds(), process.num_threads()
    except psutil.Error:  # it ended
        return None


def _seconds(process: psutil.Process) -> float:
    try:
        used = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(used.user + used.system)
