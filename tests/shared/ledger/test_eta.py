"""An eta holds for nearly every job and is not far off: played through the real scripts."""

import random
from itertools import accumulate
from statistics import mean, median

import pytest

from tests.shared.ledger.pool import Pool, on_counted_time

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def counted_time(monkeypatch):
    on_counted_time(monkeypatch)


@pytest.fixture
def pool(ledger):
    """A pool that has seen a queue and an idle time before."""

    async def warm(workers: int, seed: int) -> Pool:
        pool = Pool(ledger, workers, seed)
        await pool.serve([(0.0, job) for job in pool.mixed(120)])
        await pool.serve([(10.0 * number, job) for number, job in enumerate(pool.mixed(20))])
        return pool

    return warm


def held(promises):
    return mean(took <= eta for eta, took in promises)


def factor(promises):
    return median(eta / took for eta, took in promises)


@pytest.mark.parametrize("workers", [1, 2])
async def test_in_a_loaded_queue_nearly_every_eta_holds_and_the_usual_one_is_near(pool, workers):
    pool = await pool(workers, seed=1)
    jobs = pool.mixed(250)

    # Fifty that load the queue, and bursts of fifty whenever about as many have been done.
    every = 14 / workers
    await pool.serve([(number // 50 * every, job) for number, job in enumerate(jobs)], lose=0.03)

    promises = pool.promises(jobs[50:])
    assert held(promises) >= 0.95
    assert factor(promises) <= 3


async def test_when_more_comes_than_can_be_done_nearly_every_eta_holds(pool, redis):
    promises = []
    for seed in (1, 2, 3):
        redis.flushdb()
        fresh = await pool(2, seed)
        draw = random.Random(seed)
        times = [0.0] * 50 + [*accumulate(draw.expovariate(5.0) for _ in range(200))]
        jobs = fresh.mixed(250)

        await fresh.serve(list(zip(times, jobs, strict=True)))
        promises += fresh.promises(jobs[50:])

    assert held(promises) >= 0.95
    assert factor(promises) <= 3


async def test_on_an_idle_service_an_eta_holds_and_is_near(pool):
    pool = await pool(1, seed=1)
    jobs = pool.mixed(40)

    await pool.serve([(10.0 * number, job) for number, job in enumerate(jobs)])

    assert held(pool.promises(jobs)) >= 0.95
    assert factor(pool.promises(jobs)) <= 3
