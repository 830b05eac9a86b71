"""Processes on cores of their own, and the CPU time that each has used (Linux)."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import psutil

from infra.local import Stack
from infra.local.ports import HOST, free_port
from infra.local.probes import http_status
from infra.vitals import cpu_seconds

TICK = 1 / os.sysconf("SC_CLK_TCK")
"""Seconds: finer than that nobody counts another process's CPU time."""
PATIENCE = 30


@contextmanager
def two_shares() -> Iterator[tuple[set[int], set[int]]]:
    """One core for what is measured, the others for everybody else; the same one if it is alone.

    Wherever this process was kept in between, afterwards it has all of them again.
    """
    cores = os.sched_getaffinity(0)
    own = {max(cores)}
    try:
        yield own, cores - own or own
    finally:
        os.sched_setaffinity(0, cores)


def pin(process: int, cores: set[int]) -> None:
    """Keep a process, with all its threads, to these cores."""
    for thread in psutil.Process(process).threads():
        os.sched_setaffinity(thread.id, cores)


def cpu_by_process(stack: Stack) -> dict[str, float]:
    """Seconds on a core so far, of each process that lives, and of this one: the customers."""
    lives = {name: child.pid for name, child in stack.processes.items() if child.pid}
    own = {"customers": time.process_time()}
    return own | {name: cpu_seconds(pid) for name, pid in lives.items()}


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
