"""Processes end in the middle of the work; the work does not."""

import json
import signal
import time
from collections import Counter

import pytest
from redis import Redis

SLOW = {"num_inference_steps": 40, "strength": 1.0, "width": 128, "height": 128}
"""Seconds of work on a CPU."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL])
def test_a_worker_that_ends_in_the_middle_of_ten_jobs_loses_and_doubles_none(customer, number):
    hook = f"{customer.site.url}/hook"
    before = customer.metric("img2img_engine_steps_total")
    accepted = customer.post_all([SLOW | {"seed": n, "webhook": hook} for n in range(10)])
    _until(lambda: customer.metric("img2img_engine_steps_total") > before)
    assert _running(customer) > 0

    customer.stack.kill("worker", number)
    bodies = [json.loads(body) for _, body in customer.webhooks(10, seconds=120)]

    assert Counter(body["id"] for body in bodies) == Counter(job["id"] for job in accepted)
    assert {body["status"] for body in bodies} == {"success"}
    assert all(customer.pngs(customer.fetch(job["id"])) for job in accepted)
    _until(lambda: _ledger(customer) == {"leases": 0, "outbox": 0})
    assert _attempts_to_deliver(customer, accepted) == [1] * 10


def test_a_courier_that_is_killed_while_it_delivers_does_so_again_under_the_same_id(customer):
    # The receiver reads the webhook and is slow to answer: the courier dies waiting for it.
    customer.post(webhook=f"{customer.site.url}/slow", wait=30)
    ((first, body),) = customer.webhooks(1)
    customer.stack.kill("courier")
    customer.site.answer_now.set()
    _bring_forward(customer)

    ((again, same_body),) = customer.webhooks(1)

    assert again["webhook-id"] == first["webhook-id"]
    assert same_body == body


def test_a_redis_that_restarts_has_every_job_still(customer):
    hook = f"{customer.site.url}/hook"
    accepted = customer.post_all([SLOW | {"seed": n, "webhook": hook} for n in range(4)])

    customer.stack.kill("redis")
    customer.stack.await_ready("redis")
    bodies = [json.loads(body) for _, body in customer.webhooks(4, seconds=120)]

    assert {body["id"] for body in bodies} == {job["id"] for job in accepted}
    assert {body["status"] for body in bodies} == {"success"}


def _running(customer) -> int:
    return _ledger(customer)["leases"]


def _ledger(customer) -> dict[str, int]:
    with Redis.from_url(customer.stack.redis_url) as redis:
        return {key: redis.zcard(key) for key in ("leases", "outbox")}


def _attempts_to_deliver(customer, jobs) -> list[int]:
    with Redis.from_url(customer.stack.redis_url) as redis:
        return [redis.llen(f"attempts:{job['id']}") for job in jobs]


def _bring_forward(customer) -> None:
    """What is in the outbox is due now, not when the dead courier's lease ends."""
    with Redis.from_url(customer.stack.redis_url) as redis:
        redis.zadd("outbox", dict.fromkeys(redis.zrange("outbox", 0, -1), 0))


def _until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)
