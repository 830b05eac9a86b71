"""Records that expired, or that an operator deleted: the rest goes on."""

from datetime import timedelta

import pytest

from shared.ledger.deliveries import DeliveryLog
from shared.ledger.reaper import Reaped
from tests.jobs import FAILURE, RESULT, make_job

pytestmark = pytest.mark.anyio

LOG = DeliveryLog(at=1.0, seconds=0.1, status=200)
HOUR = timedelta(hours=1)


async def test_a_running_job_without_its_record_does_not_stop_the_reaper(ledger):
    gone, kept = await ledger.running(), await ledger.running()
    for attempt in (gone, kept):
        ledger.end_lease(attempt.job.id)
    ledger.redis.delete(f"job:{gone.job.id}")

    await ledger.reaper.reap()

    assert ledger.redis.zcard("leases") == 0
    assert await ledger.state(kept.job.id) == "queued"
    assert ledger.redis.exists(f"job:{gone.job.id}") == 0


async def test_a_delayed_job_without_its_record_does_not_stop_the_reaper(ledger):
    gone, kept = await ledger.running(), await ledger.running()
    for attempt in (gone, kept):
        ledger.attempts.hand_back(attempt, charged=True, delay=HOUR, failure=FAILURE)
        ledger.redis.zadd("delayed", {str(attempt.job.id): 1})
    ledger.redis.delete(f"job:{gone.job.id}")

    await ledger.reaper.reap()

    assert ledger.redis.zcard("delayed") == 0
    assert ledger.published()[-1] == str(kept.job.id)
    assert await ledger.reaper.reap() == Reaped(0, 0, 0)


async def test_a_waiting_job_without_its_record_is_not_counted_any_more(ledger):
    jobs = [make_job() for _ in range(6)]
    for job in jobs:
        await ledger.submit(job)
        ledger.redis.delete(f"job:{job.id}")
    for _ in range(3):
        ledger.redis.delete("gpu.default")
        for job_id in ledger.redis.zrange("published:default", 0, -1):
            ledger.redis.zadd("published:default", {job_id: 1})
        await ledger.reaper.reap()

    assert (await ledger.submissions.load("default")).waiting == 0


@pytest.mark.parametrize("outcome", ["delivered", "give_up"])
async def test_a_webhook_that_is_settled_after_its_record_expired_leaves_none_behind(
    ledger, outcome
):
    attempt = await ledger.running(make_job(webhook="https://example.com/hook"))
    ledger.attempts.succeed(attempt, RESULT)
    (delivery,) = await ledger.deliveries.claim(1, lease=HOUR)
    ledger.redis.delete(f"job:{attempt.job.id}")

    await getattr(ledger.deliveries, outcome)(delivery, LOG)

    assert await ledger.submissions.find(attempt.job.id, "alice") is None
    assert ledger.redis.zcard("outbox") == 0
