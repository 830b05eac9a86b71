"""Thousands of jobs, messages lost at random, reapers in numbers, clocks that are off."""

import asyncio
import random
import time
from collections import Counter

import pytest

from shared.config import Settings
from shared.ledger.connect import connect_for_requests
from shared.ledger.reaper import Reaper
from tests.jobs import RESULT, make_job

pytestmark = pytest.mark.anyio

BACKLOG = 10_000
LOST = 0.1


async def test_ten_thousand_jobs_end_once_while_messages_are_lost(ledger):
    chance = random.Random(5)
    for number in range(BACKLOG):
        await ledger.submit(
            make_job(tenant=f"t{number % 7}"), most_waiting=BACKLOG, most_live=BACKLOG
        )
    claims: Counter[str] = Counter()
    lost = 0
    while ledger.redis.zcard("waiting:default"):
        if not (message := ledger.redis.rpop("gpu.default")):
            # Everything that is published was lost; long after, the reaper looks again.
            for job_id in ledger.redis.zrange("published:default", 0, -1):
                ledger.redis.zadd("published:default", {job_id: 1})
            await ledger.reaper.reap()
            continue
        if chance.random() < LOST:
            lost += 1
            continue
        job_id, generation = message.split('[[\\"')[1].split("]")[0].replace('\\"', "").split(", ")
        if attempt := ledger.attempts.claim(job_id, generation, "w"):
            claims[job_id] += 1
            assert ledger.attempts.succeed(attempt, RESULT)

    assert lost > BACKLOG * LOST / 2
    assert set(claims.values()) == {1}
    assert len(claims) == BACKLOG
    for pattern in ("lane:*", "ring:*", "published:*", "live:*", "leases"):
        assert ledger.redis.keys(pattern) == []


async def test_reapers_at_the_same_time_bring_each_job_back_once(ledger, valkey_server):
    attempts = [await ledger.running() for _ in range(50)]
    for attempt in attempts:
        ledger.end_lease(attempt.job.id)

    async with connect_for_requests(valkey_server.url) as other:
        reapers = [ledger.reaper, Reaper(other, Settings(publish_ahead=4))]
        rounds = await asyncio.gather(*(reaper.reap() for reaper in reapers * 5))

    assert sum(reaped.leases for reaped in rounds) == len(attempts)
    generations = {ledger.redis.hget(f"job:{a.job.id}", "generation") for a in attempts}
    assert generations == {"2"}


@pytest.mark.parametrize("minutes", [-10, 10])
async def test_a_host_whose_clock_is_off_ends_no_lease_early_or_late(ledger, monkeypatch, minutes):
    true_time = time.time
    monkeypatch.setattr(time, "time", lambda: true_time() + 60 * minutes)

    attempt, lost = await ledger.running(), await ledger.running()
    ledger.end_lease(lost.job.id)

    assert (await ledger.reaper.reap()).leases == 1
    assert ledger.attempts.renew([(attempt, 1, 8), (lost, 1, 8)]) == [True, False]
    assert (await ledger.reaper.reap()).leases == 0
