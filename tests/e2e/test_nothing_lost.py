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
    accepted = customer.post_all([SLOW | {"seed": n, "webhook": hook} for n in range(10)])
    _until(lambda: customer.metric("img2img_engine_steps_total") > 0 and _running(customer) > 0)

    customer.stack.kill("worker", number)
    bodies = [json.loads(body) for _, body in customer.webhooks(10, seconds=120)]

    assert Counter(body["id"] for body in bodies) == Counter(job["id"] for job in accepted)
    assert {body["status"] for body in bodies} == {"success"}
    assert all(customer.pngs(customer.fetch(job["id"])) for job in accepted)
    assert customer.site.hooks.empty()
    assert _running(customer) == 0


def test_a_courier_that_is_killed_delivers_later_under_the_same_id(customer):
    customer.stack.stop_process("courier")
    customer.post(webhook=f"{customer.site.url}/hook", wait=30)

    customer.stack.start_process("courier")

    ((headers, _),) = customer.webhooks(1)
    assert headers["webhook-id"].startswith("msg_")


def test_a_redis_that_restarts_has_every_job_still(customer):
    hook = f"{customer.site.url}/hook"
    accepted = customer.post_all([SLOW | {"seed": n, "webhook": hook} for n in range(4)])

    customer.stack.kill("redis")
    customer.stack.await_ready("redis")
    bodies = [json.loads(body) for _, body in customer.webhooks(4, seconds=120)]

    assert {body["id"] for body in bodies} == {job["id"] for job in accepted}
    assert {body["status"] for body in bodies} == {"success"}


def _running(customer) -> int:
    with Redis.from_url(customer.stack.redis_url) as redis:
        return redis.zcard("leases")


def _until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)
