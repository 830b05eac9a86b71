"""Which jobs may have left images behind that their records do not name."""

import pytest

from tests.jobs import FAILURE, RESULT

pytestmark = pytest.mark.anyio


async def test_a_job_that_succeeds_at_once_leaves_nothing(ledger):
    ledger.attempts.succeed(await ledger.running(), RESULT)

    assert not ledger.redis.exists("leftovers")


async def test_one_that_ends_otherwise_or_later_may_and_is_noted_by_its_end(ledger):
    failed, late, cancelled = [await ledger.running() for _ in range(3)]
    ledger.attempts.fail(failed, FAILURE)
    await ledger.submissions.cancel(cancelled.job.id, "alice")
    ledger.attempts.hand_back(late, charged=False, failure=FAILURE)
    again = ledger.attempts.claim(str(late.job.id), "2", "worker:2")
    ledger.attempts.succeed(again, RESULT)

    noted = ledger.redis.zrange("leftovers", 0, -1, withscores=True)

    assert {name for name, _ in noted} == {str(a.job.id) for a in (failed, late, cancelled)}
    finished = ledger.redis.hget(f"job:{failed.job.id}", "finished")
    assert dict(noted)[str(failed.job.id)] == float(finished)


async def test_what_ran_while_redis_was_away_may_be_known_by_images_that_no_record_names(ledger):
    attempt = await ledger.running()
    ledger.redis.set("reap:last", 1)
    await ledger.reaper.reap()
    ledger.end_lease(attempt.job.id)
    seconds, _ = ledger.redis.time()
    ledger.redis.set("reap:grace", seconds * 1000 - 1)
    assert (await ledger.reaper.reap()).leases == 1

    again = ledger.attempts.claim(str(attempt.job.id), "2", "worker:2")
    ledger.attempts.succeed(again, RESULT)

    assert not ledger.redis.exists("leftovers")


async def test_it_is_forgotten_with_its_record(ledger):
    ledger.redis.zadd("leftovers", {"1": 1})

    ledger.attempts.fail(failed := await ledger.running(), FAILURE)

    assert ledger.redis.zrange("leftovers", 0, -1) == [str(failed.job.id)]
