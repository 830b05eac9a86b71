"""Jobs that end before their time: by their owner, by a deadline, or because nobody took them."""

from datetime import timedelta

import pytest

from shared.config import Settings
from shared.ledger.reaper import Reaper
from tests.jobs import FAILURE, RESULT, make_job

pytestmark = pytest.mark.anyio

KEYS_OF_A_LIVE_JOB = (
    "lane:*", "ring:*", "waiting:*", "published:*", "live:*", "leases", "delayed", "deadlines",
)  # fmt: skip


def left_over(redis) -> list[str]:
    return [key for pattern in KEYS_OF_A_LIVE_JOB for key in redis.keys(pattern)]


async def test_a_waiting_job_is_cancelled_and_nothing_of_it_waits(ledger):
    job = make_job()
    await ledger.submit(job, cancel_after=timedelta(hours=1))

    assert await ledger.submissions.cancel(job.id, "alice") is True

    record = await ledger.submissions.find(job.id, "alice")
    assert (record.state, record.failure.code) == ("cancelled", "cancelled")
    assert (left_over(ledger.redis), ledger.published()) == ([], [])
    assert ledger.attempts.claim(str(job.id), "1", "worker:1") is None


async def test_the_next_job_takes_the_place_of_a_cancelled_one(ledger):
    jobs = [make_job() for _ in range(6)]
    for job in jobs:
        await ledger.submit(job)
    in_lane = jobs[4]

    await ledger.submissions.cancel(in_lane.id, "alice")
    await ledger.submissions.cancel(jobs[1].id, "alice")

    kept = [jobs[0], jobs[2], jobs[3], jobs[5]]
    assert ledger.published() == [str(job.id) for job in kept]
    assert await ledger.submissions.live("alice") == 4


async def test_a_running_job_is_cancelled_at_once_and_its_attempt_learns_of_it(ledger):
    attempt = await ledger.running()
    other = await ledger.running()

    assert await ledger.submissions.cancel(attempt.job.id, "alice") is True

    assert ledger.attempts.renew([(attempt, 3, 9), (other, 3, 9)]) == [False, True]
    assert not ledger.attempts.succeed(attempt, RESULT)
    assert ledger.attempts.hand_back(attempt, charged=True, failure=FAILURE) == "stale"
    assert await ledger.state(attempt.job.id) == "cancelled"
    assert await ledger.state(other.job.id) == "running"


async def test_a_job_that_waits_for_another_try_is_cancelled(ledger):
    attempt = await ledger.running()
    ledger.attempts.hand_back(attempt, charged=True, delay=timedelta(hours=1), failure=FAILURE)

    assert await ledger.submissions.cancel(attempt.job.id, "alice") is True

    assert left_over(ledger.redis) == []


async def test_what_is_over_stays_as_it_is(ledger):
    attempt = await ledger.running()
    ledger.attempts.succeed(attempt, RESULT)
    cancelled = make_job()
    await ledger.submit(cancelled)
    await ledger.submissions.cancel(cancelled.id, "alice")

    again = [await ledger.submissions.cancel(i, "alice") for i in (attempt.job.id, cancelled.id)]

    assert again == [False, False]
    assert await ledger.state(attempt.job.id) == "succeeded"


@pytest.mark.parametrize("job_id", [7, 8])
async def test_only_the_owner_cancels(ledger, job_id):
    await ledger.submit(make_job(id=7))

    assert await ledger.submissions.cancel(job_id, "mallory") is None

    assert await ledger.state(7) == "queued"


async def test_the_webhook_says_that_the_job_was_cancelled(ledger):
    job = make_job(webhook="https://example.com/hook")
    await ledger.submit(job)

    await ledger.submissions.cancel(job.id, "alice")

    (delivery,) = await ledger.deliveries.claim(9, lease=timedelta(seconds=30))
    assert (delivery.record.job.id, delivery.record.state) == (job.id, "cancelled")


@pytest.mark.parametrize("is_running", [False, True])
async def test_a_deadline_cancels_a_job_wherever_it_is(ledger, is_running):
    job, other = make_job(), make_job()
    await ledger.submit(other)
    await ledger.submit(job, cancel_after=timedelta(hours=1))
    if is_running:
        ledger.attempts.claim(str(job.id), "1", "worker:1")
    assert (await ledger.reaper.reap()).called_off == 0

    ledger.redis.zadd("deadlines", {str(job.id): 1}, xx=True)

    assert (await ledger.reaper.reap()).called_off == 1
    record = await ledger.submissions.find(job.id, "alice")
    assert (record.state, record.failure.message) == (
        "cancelled", "Cancelled: not done by its deadline",
    )  # fmt: skip
    assert await ledger.state(other.id) == "queued"
    assert ledger.redis.zcard("deadlines") == 0


async def test_a_job_that_ends_in_time_has_no_deadline_left(ledger):
    job = make_job()
    await ledger.submit(job, cancel_after=timedelta(hours=1))

    ledger.attempts.succeed(ledger.attempts.claim(str(job.id), "1", "worker:1"), RESULT)

    assert left_over(ledger.redis) == []


async def test_a_job_that_nobody_takes_in_time_fails_and_one_that_was_taken_does_not(ledger):
    reaper = Reaper(ledger.async_redis, Settings(start_within=60))
    never, lost = make_job(), (await ledger.running())
    ledger.attempts.hand_back(lost, charged=True, failure=FAILURE)
    await ledger.submit(never)
    for job in (never, lost.job):
        ledger.redis.zadd("waiting:default", {str(job.id): 1}, xx=True)

    assert (await reaper.reap()).called_off == 1

    record = await ledger.submissions.find(never.id, "alice")
    assert (record.state, record.failure.code) == ("failed", "not_started")
    assert record.failure.message == "No worker took the job within 60 s"
    assert await ledger.state(lost.job.id) == "queued"


async def test_jobs_that_come_back_do_not_hide_one_that_nobody_took(ledger):
    reaper, more_than_a_batch = Reaper(ledger.async_redis, Settings(start_within=60)), 201
    lost = [make_job() for _ in range(more_than_a_batch)]
    for place, job in enumerate([*lost, make_job()]):
        await ledger.submit(job)
        ledger.redis.zadd("waiting:default", {str(job.id): place}, xx=True)
    for job in lost:
        ledger.redis.hset(f"job:{job.id}", "started", 1)

    assert (await reaper.reap()).called_off == 1
    assert (await reaper.reap()).called_off == 0


async def test_however_many_come_back_a_round_looks_at_a_thousand_and_the_next_goes_on(ledger):
    reaper, more_than_a_round = Reaper(ledger.async_redis, Settings(start_within=60)), 1000
    jobs = [make_job() for _ in range(more_than_a_round + 1)]
    for place, job in enumerate(jobs):
        await ledger.submit(job, most_waiting=10_000, most_live=10_000)
        ledger.redis.zadd("waiting:default", {str(job.id): place}, xx=True)
        if place < more_than_a_round:
            ledger.redis.hset(f"job:{job.id}", "started", 1)

    assert [(await reaper.reap()).called_off for _ in range(3)] == [0, 1, 0]

    ledger.redis.hdel(f"job:{jobs[0].id}", "started")
    assert [(await reaper.reap()).called_off for _ in range(2)] == [1, 0]
