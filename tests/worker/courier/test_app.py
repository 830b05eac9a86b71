"""The courier as a process, between a real Redis and a real receiver."""

import json
import signal
from contextlib import ExitStack

import pytest
from redis import Redis
from standardwebhooks import Webhook

from shared.config import Settings
from tests.jobs import RESULT, make_job
from tests.ledger import Ledger
from tests.servers import valkey
from tests.worker.courier.running import (
    LEASE,
    SECONDS,
    SECRET,
    courier,
    delivered,
    finish,
    listeners,
    until,
)


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


def test_what_is_under_way_for_too_long_is_put_back_at_once_under_the_same_id(
    ledger, receiver, valkey_server, tmp_path
):
    receiver.open.clear()
    job = finish(ledger, receiver.url)

    with courier(valkey_server.url, tmp_path, drain=0.1) as process:
        until(lambda: receiver.inside == 1)
        process.terminate()
        assert process.wait(SECONDS) == 0
    assert ledger.due_in("outbox", job) <= 0
    receiver.open.set()
    with courier(valkey_server.url, tmp_path):
        until(lambda: delivered(ledger, job))

    first, again = receiver.requests
    assert again.headers["webhook-id"] == first.headers["webhook-id"]
    assert ledger.redis.llen(f"attempts:{job.id}") == 1


def test_a_courier_that_is_killed_leaves_its_deliveries_to_another_under_the_same_id(
    ledger, receiver, valkey_server, tmp_path
):
    receiver.open.clear()
    job = finish(ledger, receiver.url)

    with courier(valkey_server.url, tmp_path) as process:
        until(lambda: receiver.inside == 1)
        process.kill()
    receiver.open.set()
    assert 0 < ledger.due_in("outbox", job) <= 30
    ledger.make_due("outbox", job)
    with courier(valkey_server.url, tmp_path):
        until(lambda: delivered(ledger, job))

    first, again = receiver.requests
    assert again.headers["webhook-id"] == first.headers["webhook-id"]
    assert again.body == first.body


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
