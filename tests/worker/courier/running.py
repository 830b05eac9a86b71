"""A courier as a process, and what its tests have in common."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from redis import Redis

from shared.jobs import Job
from shared.webhooks import new_secret
from tests.jobs import RESULT, make_job
from tests.ledger import Ledger
from tests.servers import Reply, http_server

SECONDS = 20
SECRET = new_secret()
LEASE = timedelta(seconds=2)


@contextmanager
def courier(redis_url: str, directory: Path, **settings: object) -> Iterator[subprocess.Popen]:
    """A courier at work. It polls so seldom that what it does soon, it was told of."""
    ready = directory / "ready"
    defaults = {
        "redis_url": redis_url,
        "outbound_allow": "127.0.0.1",
        "webhook_secret": SECRET,
        "lease": LEASE.total_seconds(),
        "poll": 3600,
        "sweep": 0,
        "ready_file": ready,
    }
    environment = [f"IMG2IMG_{name.upper()}={v}" for name, v in (defaults | settings).items()]
    with (directory / "courier.log").open("wb") as log:
        process = subprocess.Popen(
            ["env", *environment, sys.executable, "-m", "worker.courier"], stdout=log, stderr=log
        )
    try:
        until(ready.exists)
        yield process
    finally:
        process.kill()
        process.wait()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.01)


def listeners(redis: Redis) -> int:
    """Couriers that hear of jobs that end."""
    return dict(redis.pubsub_numsub("finished"))["finished"]


class Receiver:
    """A client's server; while it is closed its visitors wait, and it counts them."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.inside = self.most = 0
        self.arrivals: list[float] = []
        """By the monotonic clock."""
        self._counting = threading.Lock()

    def __call__(self, request) -> Reply:
        self.arrivals.append(time.monotonic())
        self._count(1)
        assert self.open.wait(SECONDS)
        self._count(-1)
        return Reply(204)

    def _count(self, change: int) -> None:
        with self._counting:
            self.inside += change
            self.most = max(self.most, self.inside)


def finish(ledger: Ledger, url: str, **fields) -> Job:
    """A job whose webhook is due."""
    return finish_all(ledger, [url], **fields)[0]


def finish_all(ledger: Ledger, urls: Iterable[str], **fields) -> list[Job]:
    """Jobs whose webhooks are due."""
    jobs = [make_job(webhook=url, **fields) for url in urls]
    ledger.submit(*jobs)
    for job in jobs:
        ledger.attempts.succeed(ledger.claim(job), RESULT)
    return jobs


def delivered(ledger: Ledger, *jobs) -> bool:
    return all(ledger.record(job).webhook_status == "delivered" for job in jobs)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that runs, and opens before it ends."""
    receiver = Receiver()
    with http_server(receiver) as server:
        receiver.url, receiver.requests = server.url, server.requests
        yield receiver
        receiver.open.set()
