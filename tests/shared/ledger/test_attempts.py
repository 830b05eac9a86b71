from datetime import timedelta

import pytest

from shared.config import Settings
from shared.ledger.attempts import Attempts, WorkerRecord
from shared.ledger.estimates import FIRST_BOUND, Expectation
from tests.jobs import FAILURE, RESULT, make_job

pytestmark = pytest.mark.anyio


async def test_a_job_is_claimed_once(ledger):
    job = make_job()
    await ledger.submit(job)

    first = ledger.attempts.claim(str(job.id), "1", "a")
    second = ledger.attempts.claim(str(job.id), "1", "b")

    assert (first.job, first.number) == (job, 1)
    assert second is None


async def test_a_claim_whose_answer_was_lost_can_be_repeated(ledger):
    attempt = await ledger.running(owner="a")

    assert ledger.attempts.claim(str(attempt.job.id), "1", "a") == attempt


@pytest.mark.parametrize("job_id", ["123", "no number", ""])
async def test_messages_of_unknown_jobs_are_dropped(ledger, job_id):
    assert ledger.attempts.claim(job_id, "1", "a") is None


async def test_the_result_of_the_holder_ends_the_job(ledger):
    attempt = await ledger.running()

    assert ledger.attempts.succeed(attempt, RESULT)

    record = await ledger.submissions.find(attempt.job.id, "alice")
    assert (record.state, record.result) == ("succeeded", RESULT)
    assert ledger.redis.zcard("leases") == 0
    assert ledger.redis.scard("live:alice") == 0
    assert ledger.redis.ttl(f"job:{attempt.job.id}") > 0


@pytest.mark.parametrize(
    ("changes", "temp", "days"),
    [
        ({}, False, 7),
        ({}, True, 1),
        ({"keep_outputs": timedelta(days=3)}, False, 3),
        ({"keep_outputs": timedelta(days=30)}, False, 7),
    ],
)
async def test_a_result_is_kept_no_longer_than_its_outputs(ledger, changes, temp, days):
    params = make_job().params.model_copy(update={"temp": temp})
    job = make_job(params=params)
    await ledger.submit(job)
    attempts = Attempts(ledger.redis, Settings(**changes))

    attempts.succeed(attempts.claim(str(job.id), "1", "a"), RESULT)

    assert 0 <= days * 24 * 3600 - ledger.redis.ttl(f"job:{job.id}") < 60


async def test_ending_a_job_again_changes_nothing(ledger):
    attempt = await ledger.running()
    ledger.attempts.succeed(attempt, RESULT)

    assert ledger.attempts.succeed(attempt, RESULT), "the same end, reported twice"
    assert not ledger.attempts.fail(attempt, FAILURE)
    assert await ledger.state(attempt.job.id) == "succeeded"


async def test_an_attempt_that_lost_its_job_cannot_end_it(ledger):
    stale = await ledger.running(owner="a")
    ledger.end_lease(stale.job.id)
    await ledger.reaper.reap()
    fresh = ledger.attempts.claim(str(stale.job.id), "2", "b")

    assert not ledger.attempts.succeed(stale, RESULT)
    assert ledger.attempts.renew([(stale, 1, 8), (fresh, 2, 8)]) == [False, True]
    assert await ledger.state(stale.job.id) == "running"
    assert ledger.attempts.fail(fresh, FAILURE)


async def test_renewing_notes_the_progress(ledger):
    attempt = await ledger.running()

    ledger.attempts.renew([(attempt, 3, 8)])

    record = await ledger.submissions.find(attempt.job.id, "alice")
    assert (record.step, record.steps) == (3, 8)


async def test_a_job_handed_back_is_queued_again_at_once_and_not_charged(ledger):
    attempt = await ledger.running()

    assert ledger.attempts.hand_back(attempt, charged=False, failure=FAILURE) == "queued"

    again = ledger.attempts.claim(str(attempt.job.id), "2", "b")
    assert again.number == 1
    assert ledger.published()[-1] == str(attempt.job.id)
    assert ledger.attempts.claim(str(attempt.job.id), "1", "c") is None, "the old message is stale"


async def test_a_charged_job_waits_and_comes_back_when_due(ledger):
    attempt = await ledger.running()
    ledger.redis.rpop("gpu.default")

    delay = timedelta(hours=1)
    ledger.attempts.hand_back(attempt, charged=True, delay=delay, failure=FAILURE)
    await ledger.reaper.reap()
    assert ledger.published() == []

    ledger.redis.zadd("delayed", {str(attempt.job.id): 1})
    await ledger.reaper.reap()
    assert ledger.published() == [str(attempt.job.id)]
    assert ledger.attempts.claim(str(attempt.job.id), "2", "b").number == 2


async def test_the_third_charged_attempt_is_the_last(ledger):
    attempt = await ledger.running()
    for generation in ("2", "3"):
        assert ledger.attempts.hand_back(attempt, charged=True, failure=FAILURE) == "queued"
        attempt = ledger.attempts.claim(str(attempt.job.id), generation, f"w{generation}")

    assert ledger.attempts.hand_back(attempt, charged=True, failure=FAILURE) == "failed"

    record = await ledger.submissions.find(attempt.job.id, "alice")
    assert (record.state, record.failure) == ("failed", FAILURE)
    assert ledger.redis.xlen("dead") == 1


async def test_live_workers_make_the_load_and_dead_ones_do_not(ledger):
    def worker(name, pools, slots):
        return WorkerRecord(name, frozenset(pools), slots, occupancy=1.0, steps=0)

    ledger.attempts.register(worker("a", ["default"], 4), lifetime=timedelta(minutes=1))
    ledger.attempts.register(worker("b", ["default", "big"], 2), lifetime=timedelta(minutes=1))
    assert (await ledger.submissions.load("default")).slots == 6

    ledger.attempts.unregister("b")
    assert (await ledger.submissions.load("default")).slots == 4
    assert (await ledger.submissions.load("big")).slots == 0


async def test_a_job_that_succeeds_is_measured_and_what_was_expected_of_it_is_judged(ledger):
    attempt = await ledger.running()
    await ledger.submissions.expect(attempt.job.id, Expectation(5.0, "calm", 2.0))
    ledger.redis.hincrby(f"job:{attempt.job.id}", "started", -30_000)
    ledger.redis.hincrby(f"job:{attempt.job.id}", "expected_at", -30_000)

    ledger.attempts.succeed(attempt, RESULT)

    load = await ledger.submissions.load("default")
    assert load.seconds == pytest.approx(30, abs=5)
    assert load.services["calm"].work == pytest.approx(attempt.job.params.work)
    assert load.services[f"calm:{attempt.job.params.size}"] == load.services["calm"]
    assert load.bounds["calm"] > FIRST_BOUND
