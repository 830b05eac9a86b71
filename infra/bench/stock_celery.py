"""A stock Celery worker on Redis, as its first tutorial has it, with a task that does nothing.

`celery -A infra.bench.stock_celery worker` runs it; the broker's address comes by the environment.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from celery import Celery
from redis import Redis

from infra.bench.arrivals import paced
from infra.local.child import ROOT

BROKER = "STOCK_CELERY_BROKER"
STARTS = "starts"
"""The Redis list of when each task was sent and started, in seconds since the epoch."""
PATIENCE = 60
"""Seconds for a worker to start, and for the last task."""

app = Celery("stock", broker=os.environ.get(BROKER, "redis://"), set_as_current=False)


@app.task(ignore_result=True, shared=False)
def nothing(sent: float) -> None:
    """Note when it was started."""
    began = time.time()
    with Redis.from_url(app.conf.broker_url) as redis:
        redis.rpush(STARTS, f"{sent} {began}")


def delays(url: str, kind: str, times: Sequence[float]) -> list[float]:
    """Seconds from sending each task at its time to its start, in a pool of that kind.

    The database has to be empty.
    """
    with (
        Celery(broker=url, set_as_current=False) as sender,
        Redis.from_url(url, decode_responses=True, socket_timeout=2 * PATIENCE) as redis,
        _worker(url, kind),
    ):
        sender.send_task(nothing.name, args=[time.time()])
        _read(redis, 1)  # not counted: the worker had to start
        for _ in paced(times):
            sender.send_task(nothing.name, args=[time.time()])
        return _read(redis, len(times))


def _read(redis: Redis, count: int) -> list[float]:
    found = []
    for _ in range(count):
        answer = redis.blpop([STARTS], PATIENCE)
        if not answer:
            raise TimeoutError(f"{len(found)} of {count} tasks were started")
        sent, began = map(float, answer[1].split())
        found.append(began - sent)
    return found


@contextmanager
def _worker(url: str, kind: str) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "-A", __name__, "worker", "-P", kind]
    process = subprocess.Popen(
        [*command, "--loglevel", "error"],
        env=os.environ | {BROKER: url},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()
