"""What the processes hold now, as Linux and Redis count it."""

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

PROC = Path("/proc")
SESSION, USER, SYSTEM = 3, 11, 12
"""Their places in /proc/PID/stat, behind the name: the last two are ticks on a core."""
LONG = 60 * 60 * 1000
"""Milliseconds: what lives longer is somebody's record, not a sign of life."""
PATIENCE = 30.0


@dataclass(frozen=True)
class Vitals:
    """Of a process and its own children."""

    rss: int
    """Bytes."""
    fds: int
    threads: int


def vitals(pid: int) -> Vitals:
    """What the session that this process leads holds; ProcessLookupError where it is over."""
    held = list(filter(None, map(_of_one, _session(pid))))
    if not held:
        raise ProcessLookupError(f"no process of session {pid} is alive")
    rss, fds, threads = (sum(column) for column in zip(*held, strict=True))
    return Vitals(rss, fds, threads)


def cpu_seconds(pid: int) -> float:
    """On a core so far, of the session that this process leads; 0 when it is over."""
    return sum(map(_seconds_of_one, _session(pid)))


def rest(redis: Redis) -> dict[str, Any]:
    """Wait until nothing is under way, let the records' time be over, and count what stays."""
    deadline = time.monotonic() + PATIENCE
    while busy := [key for key in ("leases", "outbox", "delayed") if redis.exists(key)]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not empty after {PATIENCE:.0f} s: {', '.join(busy)}")
        time.sleep(0.05)
    names = [name for name in redis.scan_iter(count=1000) if redis.pttl(name) > LONG]
    if names:
        redis.delete(*names)
    kinds = Counter(name.partition(":")[0] for name in redis.scan_iter(count=1000))
    used: int = redis.info("memory")["used_memory"]  # type: ignore[index]
    return {"used_memory": used, "keys": kinds.total(), "keys_by_kind": dict(sorted(kinds.items()))}


def _session(leader: int) -> list[Path]:
    processes = (stat.parent for stat in PROC.glob("[0-9]*/stat"))
    return [one for one in processes if (of := _stat(one)) and int(of[SESSION]) == leader]


def _stat(process: Path) -> list[str]:
    try:
        _, _, fields = (process / "stat").read_text().rpartition(")")
    except OSError:  # it ended
        return []
    return fields.split()


def _seconds_of_one(process: Path) -> float:
    ticks = sum(map(int, _stat(process)[USER : SYSTEM + 1]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _of_one(process: Path) -> tuple[int, int, int] | None:
    try:
        status = (process / "status").read_text()
        fds = len(list((process / "fd").iterdir()))
    except OSError:  # it ended
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines())
    if "VmRSS" not in fields:  # it ended and nobody has asked how
        return None
    kib, _ = fields["VmRSS"].split()
    return int(kib) * 1024, fds, int(fields["Threads"])
