"""Processes on cores of their own, and the CPU time that each has used (Linux)."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from infra.local.ports import HOST, free_port
from infra.local.probes import http_status

TICK = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds: finer than that nobody counts another process's CPU time."""
PATIENCE = 30


def two_shares() -> tuple[set[int], set[int]]:
    """One core for what is measured, the others for everybody else; the same one if it is alone."""
    cores = os.sched_getaffinity(0)
    own = {max(cores)}
    return own, cores - own or own


def pin(process: int, cores: set[int]) -> None:
    """Keep a process, with all its threads, to these cores."""
    for task in Path(f"/proc/{process}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


def cpu_seconds(process: int) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return TICK * (int(fields[11]) + int(fields[12]))  # utime, stime


@contextmanager
def naive_door(redis_url: str) -> Iterator[tuple[int, int]]:
    """`infra.bench.naive` by the same server as ours: its process and its port."""
    port = free_port()
    app = ("infra.bench.naive:create_app", "--factory", "--loop", "uvloop", "--http", "httptools")
    quiet = ("--no-access-log", "--no-server-header", "--log-level", "warning")
    command = (sys.executable, "-m", "uvicorn", *app, "--host", HOST, "--port", str(port), *quiet)
    with subprocess.Popen(command, env=os.environ | {"IMG2IMG_REDIS_URL": redis_url}) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while http_status(port, "/readyz") != HTTPStatus.OK:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise TimeoutError(f"{app[0]} does not answer")
                time.sleep(0.05)
            yield process.pid, port
        finally:
            process.terminate()
