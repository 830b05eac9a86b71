"""Cancelling all that waits."""

import asyncio
from datetime import timedelta

import pytest

from shared.config import Settings
from shared.ledger.connect import connect_for_requests
from shared.ledger.submissions import AT_ONCE, Submissions
from tests.jobs import FAILURE, make_job
from tests.ledger import Ledger


@pytest.fixture
def settings():
    return Settings(publish_ahead=2)


@pytest.fixture
def ledger(redis, settings):
    return Ledger(redis, settings)


@pytest.fixture
def clear(valkey_server, settings):
    def clear(tenant=None):
        async def run():
            async with connect_for_requests(valkey_server.url) as client:
                return await Submissions(client, settings).cancel_waiting(tenant)

        return asyncio.run(run())

    return clear


def test_a_tenant_clears_its_own_jobs_and_no_other(ledger, clear):
    own, other = make_job(tenant="alice"), make_job(tenant="bob")
    ledger.submit(own, other)

    assert clear("alice") == 1

    assert (ledger.record(own).state, ledger.record(other).state) == ("cancelled", "queued")
    assert ledger.record(own).failure.message == "Cancelled by its owner"


def test_an_operator_clears_every_pool_and_what_runs_goes_on(ledger, clear):
    running = make_job()
    attempt = ledger.running(running)
    retried = make_job()
    ledger.attempts.hand_back(
        ledger.running(retried), charged=True, delay=timedelta(hours=1), failure=FAILURE
    )
    jobs = [make_job(pool=pool, webhook="https://example.com") for pool in ("a", "b")]
    ledger.submit(*jobs)

    assert clear() == 3

    assert {ledger.record(job).state for job in (retried, *jobs)} == {"cancelled"}
    assert ledger.record(jobs[0]).failure.message == "Cancelled: the queue was cleared"
    assert ledger.record(running).state == "running"
    assert ledger.attempts.renew([(attempt, 1, 4)]) == [True]
    assert ledger.redis.zcard("outbox") == 2


def test_a_long_queue_is_cleared_and_nothing_of_it_is_left(ledger, clear, redis):
    jobs = [make_job(tenant=f"t{n % 3}") for n in range(AT_ONCE + 20)]
    ledger.submit(*jobs)

    assert clear() == len(jobs)
    assert clear() == 0

    left = ("waiting:default", "ring:default", "published:default", "gpu.default", "delayed")
    assert [key for key in left if redis.exists(key)] == []
