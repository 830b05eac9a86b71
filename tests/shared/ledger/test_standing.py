"""What an alarm goes by."""

from datetime import timedelta

import pytest

from shared.ledger.attempts import WorkerRecord
from shared.ledger.standing import Queue, Standing, standing
from tests.jobs import FAILURE, make_job

pytestmark = pytest.mark.anyio


async def test_a_deployment_without_jobs_has_nothing_to_tell(ledger):
    assert await standing(ledger.async_redis) == Standing({}, 0, 0, workers=0, dead=0)


async def test_what_waits_runs_and_was_given_up_is_counted(ledger):
    first = make_job()
    for job in (first, make_job(), make_job(pool="large")):
        await ledger.submit(job)
    ledger.redis.zincrby("waiting:default", -90_000, str(first.id))
    given_up, lost = await ledger.running(), await ledger.running()
    ledger.redis.hset(f"job:{given_up.job.id}", "attempts", 3)
    ledger.attempts.hand_back(given_up, charged=True, failure=FAILURE)
    ledger.end_lease(lost.job.id)
    await ledger.running()
    worker = WorkerRecord("gpu-0", frozenset({"default"}), slots=1, occupancy=0, steps=0)
    ledger.attempts.register(worker, lifetime=timedelta(seconds=30))

    now = await standing(ledger.async_redis)

    assert (now.running, now.overdue, now.workers, now.dead) == (2, 1, 1, 1)
    assert now.queues["default"] == Queue(2, pytest.approx(90, abs=5))
    assert now.queues["large"] == Queue(1, pytest.approx(0, abs=5))
