"""The courier as a process, between a real Redis and a real receiver."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis
from standardwebhooks import Webhook

from shared.config import Settings
from shared.webhooks import new_secret
from tests.jobs import RESULT, make_job
from tests.ledger import Ledger
from tests.servers import Reply, http_server, valkey

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
        self._counting = threading.Lock()

    def __call__(self, request) -> Reply:
        self._count(1)
        assert self.open.wait(SECONDS)
        self._count(-1)
        return Reply(204)

    def _count(self, change: int) -> None:
        with self._counting:
            self.inside += change
            self.most = max(self.most, self.inside)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with http_server(receiver) as server:
        receiver.url, receiver.requests = server.url, server.requests
        yield receiver
        receiver.open.set()


@pytest.fixture
def ledger(redis) -> Ledger:
    return Ledger(redis, Settings(lease=LEASE))


def finish(ledger: Ledger, url: str, **fields):
    """A job whose webhook is due."""
    job = make_job(webhook=url, **fields)
    ledger.attempts.succeed(ledger.running(job), RESULT)
    return job


def delivered(ledger: Ledger, *jobs) -> bool:
    return all(ledger.record(job).webhook_status == "delivered" for job in jobs)


def test_a_courier_delivers_what_was_due_before_it_came_and_what_ends_meanwhile(
    ledger, receiver, valkey_server, tmp_path
):
    before = finish(ledger, receiver.url, track_id=1)

    with courier(valkey_server.url, tmp_path):
        until(lambda: listeners(ledger.redis) == 1 and delivered(ledger, before))
        meanwhile = finish(ledger, receiver.url, track_id=2)
        until(lambda: delivered(ledger, meanwhile))

    bodies = [Webhook(SECRET).verify(r.body, r.headers) for r in receiver.requests]
    assert [(body["id"], body["track_id"]) for body in bodies] == [
        (before.id, 1),
        (meanwhile.id, 2),
    ]
    assert bodies[0]["output"] == [f"http://127.0.0.1:8000/{key}" for key in RESULT.keys]


def test_a_retry_that_becomes_due_is_found_by_polling(ledger, receiver, valkey_server, tmp_path):
    job = finish(ledger, receiver.url)
    put_off = ledger.redis.zadd("outbox", {str(job.id): 1e15}, ch=True)

    with courier(valkey_server.url, tmp_path, poll=0.05):
        until(lambda: listeners(ledger.redis) == 1)
        ledger.make_due("outbox", job)
        until(lambda: delivered(ledger, job))

    assert (put_off, len(receiver.requests)) == (1, 1)


def test_no_more_webhooks_are_under_way_than_the_settings_allow(
    ledger, receiver, valkey_server, tmp_path
):
    jobs = [finish(ledger, receiver.url) for _ in range(7)]
    receiver.open.clear()

    with courier(valkey_server.url, tmp_path, deliveries=3):
        until(lambda: receiver.inside == 3)
        receiver.open.set()
        until(lambda: delivered(ledger, *jobs))

    assert receiver.most == 3
    assert len(receiver.requests) == 7


def test_a_courier_brings_back_the_job_of_a_lost_worker(ledger, valkey_server, tmp_path):
    job = make_job()
    ledger.running(job)
    ledger.make_due("leases", job)

    with courier(valkey_server.url, tmp_path):
        until(lambda: ledger.record(job).state == "queued")

    assert ledger.claim(job).number == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_courier_ends_when_it_is_asked_to(ledger, valkey_server, tmp_path, number):
    with courier(valkey_server.url, tmp_path) as process:
        process.send_signal(number)

        assert process.wait(SECONDS) == 0


def test_a_courier_that_is_asked_to_end_finishes_what_is_under_way_and_takes_no_more(
    ledger, receiver, valkey_server, tmp_path
):
    receiver.open.clear()
    under_way = finish(ledger, receiver.url)

    with courier(valkey_server.url, tmp_path) as process:
        until(lambda: receiver.inside == 1 and listeners(ledger.redis) == 1)
        process.terminate()
        until(lambda: listeners(ledger.redis) == 0)
        too_late = finish(ledger, receiver.url)
        receiver.open.set()

        assert process.wait(SECONDS) == 0

    assert delivered(ledger, under_way)
    assert not delivered(ledger, too_late)
    assert len(receiver.requests) == 1


def test_a_courier_outlives_a_redis_that_restarts(receiver, tmp_path):
    with ExitStack() as stack:
        server = stack.enter_context(valkey(tmp_path))
        redis = stack.enter_context(Redis.from_url(server.url, decode_responses=True))
        ledger = Ledger(redis, Settings(lease=LEASE))
        process = stack.enter_context(courier(server.url, tmp_path))
        first = finish(ledger, receiver.url)
        until(lambda: delivered(ledger, first))

        server.kill()
        until(lambda: "waiting for Redis" in (tmp_path / "courier.log").read_text())
        server.start()
        until(lambda: listeners(redis) == 1)
        second = finish(ledger, receiver.url)
        until(lambda: delivered(ledger, second))

        assert process.poll() is None
        process.terminate()
        assert process.wait(SECONDS) == 0
    ids = [json.loads(request.body)["id"] for request in receiver.requests]
    assert ids == [first.id, second.id]


def test_a_courier_ends_also_while_redis_is_away(tmp_path):
    with valkey(tmp_path) as server, courier(server.url, tmp_path) as process:
        server.kill()
        until(lambda: "waiting for Redis" in (tmp_path / "courier.log").read_text())
        process.terminate()

        assert process.wait(SECONDS) == 0
