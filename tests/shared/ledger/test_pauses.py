"""Pools that an operator holds back: nothing more is published, and nothing is blamed for it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.config import Settings
from shared.ledger.estimates import Expectation
from shared.ledger.reaper import Reaper
from shared.ledger.receipts import Outcome
from tests.jobs import FAILURE, RESULT, make_job

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)
LONG_AGO = 1


async def test_jobs_are_accepted_and_wait_until_the_queue_goes_on(ledger):
    await ledger.pauses.pause(["default"])
    jobs = [make_job() for _ in range(6)]
    receipts = [await ledger.submit(job) for job in jobs]
    meanwhile = ledger.published()

    await ledger.pauses.resume(["default"])

    assert {receipt.outcome for receipt in receipts} == {Outcome.ACCEPTED}
    assert meanwhile == []
    assert ledger.published() == [str(job.id) for job in jobs[:4]]


async def test_what_is_on_its_way_or_runs_goes_on(ledger):
    running = await ledger.running()
    ledger.redis.rpop("gpu.default")
    on_its_way = make_job()
    await ledger.submit(on_its_way)
    await ledger.pauses.pause(["default"])

    assert ledger.published() == [str(on_its_way.id)]
    assert ledger.attempts.claim(str(on_its_way.id), "1", "worker:2") is not None
    assert ledger.attempts.succeed(running, RESULT)


@pytest.mark.parametrize("delay", [timedelta(0), HOUR])
async def test_another_try_waits_for_the_end_of_the_pause(ledger, delay):
    attempt = await ledger.running()
    ledger.redis.rpop("gpu.default")
    await ledger.pauses.pause(["default"])
    ledger.attempts.hand_back(attempt, charged=True, delay=delay, failure=FAILURE)
    if delay:
        ledger.redis.zadd("delayed", {str(attempt.job.id): LONG_AGO})
        await ledger.reaper.reap()
    meanwhile = ledger.published()

    await ledger.pauses.resume(["default"])

    assert meanwhile == []
    assert ledger.published() == [str(attempt.job.id)]


async def test_other_pools_go_on(ledger):
    await ledger.pauses.pause(["big"])
    job = make_job()

    await ledger.submit(job)

    assert ledger.published() == [str(job.id)]


async def test_who_waits_for_a_pause_is_neither_too_late_nor_in_others_way(ledger):
    reaper = Reaper(ledger.async_redis, Settings(start_within=HOUR))
    await ledger.pauses.pause(["default"])
    old, new = make_job(), make_job()
    await ledger.submit(old)
    ledger.redis.zadd("waiting:default", {str(old.id): LONG_AGO})

    paused = await reaper.reap()
    receipt = await ledger.submit(new, shed_after=HOUR)
    await ledger.pauses.resume(["default"])
    resumed = await reaper.reap()
    ledger.redis.hset("pauses", "default", LONG_AGO)
    later = await reaper.reap()

    assert receipt.outcome is Outcome.ACCEPTED
    assert (paused.called_off, resumed.called_off, later.called_off) == (0, 0, 1)


@pytest.mark.parametrize(("is_paused", "learnt"), [(False, 1), (True, 0)])
async def test_nothing_is_learnt_from_promises_that_a_pause_broke(ledger, is_paused, learnt):
    job = make_job()
    await ledger.submit(job)
    await ledger.submissions.expect(job.id, Expectation(1.0, "calm", 2.3))
    attempt = ledger.attempts.claim(str(job.id), "1", "worker:1")
    if is_paused:
        await ledger.pauses.pause(["default"])
        await ledger.pauses.resume(["default"])

    ledger.attempts.succeed(attempt, RESULT)

    assert ledger.redis.exists("bounds:default") == learnt


async def test_a_load_that_is_waited_for_stands_in_the_record_until_it_is_over(ledger):
    attempt = await ledger.running()
    same_in_other_hands = replace(attempt)

    async def is_loading():
        return (await ledger.submissions.find(attempt.job.id, "alice")).is_loading

    ledger.attempts.renew([(attempt, 0, 0)], loading=[same_in_other_hands])
    loading = await is_loading()
    ledger.attempts.renew([(attempt, 1, 8)])
    begun = await is_loading()
    ledger.attempts.renew([(attempt, 0, 0)], loading=[attempt])
    ledger.attempts.hand_back(attempt, charged=False, failure=FAILURE)

    assert (loading, begun, await is_loading()) == (True, False, False)
