from datetime import timedelta

import pytest

from shared.ledger.deliveries import DeliveryLog
from tests.jobs import FAILURE, RESULT, make_job

pytestmark = pytest.mark.anyio

LEASE = timedelta(seconds=30)
LOG = DeliveryLog(at=1.0, seconds=0.1, status=200)
HOOK = "https://example.com/hook"


async def test_a_job_that_ends_puts_its_webhook_into_the_outbox(ledger):
    attempt = await ledger.running(make_job(webhook=HOOK, track_id=[1, "two"]))
    assert await ledger.deliveries.claim(10, lease=LEASE) == []

    ledger.attempts.succeed(attempt, RESULT)

    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)
    assert (delivery.attempt, delivery.record.state) == (1, "succeeded")
    assert delivery.record.job.track_id == [1, "two"]
    assert delivery.message_id.startswith("msg_")


async def test_a_failed_job_has_its_webhook_too(ledger):
    attempt = await ledger.running(make_job(webhook=HOOK))

    ledger.attempts.fail(attempt, FAILURE)

    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)
    assert delivery.record.failure == FAILURE


async def test_a_job_without_webhook_leaves_the_outbox_empty(ledger):
    attempt = await ledger.running()

    ledger.attempts.succeed(attempt, RESULT)

    assert await ledger.deliveries.claim(10, lease=LEASE) == []


async def test_a_webhook_is_taken_by_one_courier_at_a_time(ledger):
    await _due(ledger)

    taken = [await ledger.deliveries.claim(10, lease=LEASE) for _ in range(2)]

    assert [len(deliveries) for deliveries in taken] == [1, 0]


async def test_a_webhook_comes_back_with_the_same_id_when_its_courier_dies(ledger):
    first = await _due(ledger)
    (died_with,) = await ledger.deliveries.claim(10, lease=LEASE)
    ledger.redis.zadd("outbox", {str(first.job.id): 1})

    (again,) = await ledger.deliveries.claim(10, lease=LEASE)

    assert again.message_id == died_with.message_id


async def test_a_delivered_webhook_is_done(ledger):
    attempt = await _due(ledger)
    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)

    await ledger.deliveries.delivered(delivery, LOG)

    record = await ledger.submissions.find(attempt.job.id, "alice")
    assert record.webhook_status == "delivered"
    assert ledger.redis.zcard("outbox") == 0
    assert ledger.redis.lrange(f"attempts:{attempt.job.id}", 0, -1) == [LOG.model_dump_json()]


async def test_a_retry_waits_and_counts(ledger):
    attempt = await _due(ledger)
    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)

    await ledger.deliveries.retry(delivery, LOG, delay=3600)
    assert await ledger.deliveries.claim(10, lease=LEASE) == []

    ledger.redis.zadd("outbox", {str(attempt.job.id): 1})
    (again,) = await ledger.deliveries.claim(10, lease=LEASE)
    assert (again.attempt, again.message_id) == (2, delivery.message_id)


async def test_a_webhook_that_is_given_up_is_a_dead_letter(ledger):
    attempt = await _due(ledger)
    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)

    await ledger.deliveries.give_up(delivery, LOG)

    record = await ledger.submissions.find(attempt.job.id, "alice")
    assert record.webhook_status == "given_up"
    assert ledger.redis.xlen("dead") == 1


async def _due(ledger):
    attempt = await ledger.running(make_job(webhook=HOOK))
    ledger.attempts.succeed(attempt, RESULT)
    return attempt


async def test_a_courier_that_was_too_slow_takes_nothing_back(ledger):
    attempt = await _due(ledger)
    (slow,) = await ledger.deliveries.claim(10, lease=LEASE)
    ledger.redis.zadd("outbox", {str(attempt.job.id): 1})
    (quick,) = await ledger.deliveries.claim(10, lease=LEASE)
    await ledger.deliveries.delivered(quick, LOG)

    await ledger.deliveries.give_up(slow, LOG)

    record = await ledger.submissions.find(attempt.job.id, "alice")
    assert record.webhook_status == "delivered"
    assert ledger.redis.xlen("dead") == 0


async def test_a_record_that_cannot_be_read_holds_up_no_other(ledger):
    unreadable, readable = await _due(ledger), await _due(ledger)
    ledger.redis.hset(f"job:{unreadable.job.id}", "job", "{}")

    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)

    assert delivery.record.job == readable.job
    assert ledger.redis.zscore("outbox", str(unreadable.job.id)) is not None
