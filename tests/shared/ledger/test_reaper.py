import pytest

from shared.ledger.reaper import Reaped
from tests.jobs import FAILURE, RESULT, make_job

pytestmark = pytest.mark.anyio


async def test_the_job_of_a_lost_worker_is_queued_again(ledger):
    attempt = await ledger.running()
    ledger.end_lease(attempt.job.id)

    reaped = await ledger.reaper.reap()

    assert reaped.leases == 1
    assert ledger.attempts.claim(str(attempt.job.id), "2", "b").number == 2


async def test_only_who_was_at_work_when_its_worker_was_lost_is_charged_and_suspect(ledger):
    at_work, aside = await ledger.running(), await ledger.running()
    assert ledger.attempts.set_aside(aside, waits=True)
    for attempt in (at_work, aside):
        ledger.end_lease(attempt.job.id)

    await ledger.reaper.reap()

    again = [ledger.attempts.claim(str(a.job.id), "2", "b") for a in (at_work, aside)]
    assert [(a.number, a.suspect) for a in again] == [(2, True), (1, False)]


async def test_who_was_set_aside_and_then_went_to_work_is_charged(ledger):
    attempt = await ledger.running()
    ledger.attempts.set_aside(attempt, waits=True)
    ledger.attempts.set_aside(attempt, waits=False)
    ledger.end_lease(attempt.job.id)

    await ledger.reaper.reap()

    assert ledger.attempts.claim(str(attempt.job.id), "2", "b").suspect
    assert not ledger.attempts.set_aside(attempt, waits=True), "it is not its job any more"


async def test_an_attempt_that_failed_and_left_its_worker_alive_makes_no_suspect(ledger):
    attempt = await ledger.running()
    ledger.attempts.hand_back(attempt, charged=True, failure=FAILURE)

    assert not ledger.attempts.claim(str(attempt.job.id), "2", "b").suspect


async def test_a_lease_that_is_renewed_is_left_alone(ledger):
    attempt = await ledger.running()

    assert await ledger.reaper.reap() == Reaped(0, 0, 0)
    assert ledger.attempts.succeed(attempt, RESULT)


async def test_a_job_that_ends_every_worker_fails_at_last(ledger):
    attempt = await ledger.running()
    for generation in ("2", "3", "4"):
        ledger.end_lease(attempt.job.id)
        await ledger.reaper.reap()
        ledger.attempts.claim(str(attempt.job.id), generation, f"w{generation}")

    record = await ledger.submissions.find(attempt.job.id, "alice")
    assert (record.state, record.failure.code, record.attempts) == ("failed", "worker_lost", 3)
    assert ledger.redis.zcard("leases") == 0


async def test_a_message_that_was_popped_and_never_claimed_is_sent_again(ledger):
    job = make_job()
    await ledger.submit(job)
    ledger.redis.rpop("gpu.default")
    ledger.redis.zadd("published:default", {str(job.id): 1})

    reaped = await ledger.reaper.reap()

    assert reaped.messages == 1
    assert ledger.published() == [str(job.id)]


async def test_messages_that_merely_wait_are_not_doubled(ledger):
    jobs = [make_job() for _ in range(3)]
    for job in jobs:
        await ledger.submit(job)
        ledger.redis.zadd("published:default", {str(job.id): 1})

    await ledger.reaper.reap()

    assert len(ledger.published()) == 3


async def test_after_an_outage_live_workers_may_renew_first(ledger):
    attempt = await ledger.running()
    await ledger.reaper.reap()
    ledger.end_lease(attempt.job.id)
    ledger.redis.set("reap:last", 1)

    assert (await ledger.reaper.reap()).leases == 0
    assert (await ledger.reaper.reap()).leases == 0
    assert ledger.attempts.renew([(attempt, 1, 8)]) == [True]

    ledger.end_lease(attempt.job.id)
    ledger.redis.set("reap:grace", 1)
    assert (await ledger.reaper.reap()).leases == 1


async def test_couriers_that_are_merely_slow_still_end_leases(ledger):
    attempt = await ledger.running()
    ledger.end_lease(attempt.job.id)
    seconds, _ = ledger.redis.time()
    ledger.redis.set("reap:grace", seconds * 1000 - 1)
    ledger.redis.set("reap:last", 1)

    assert (await ledger.reaper.reap()).leases == 1
