"""A tenant's running limit, and new jobs that are refused because old ones wait for too long."""

from datetime import timedelta

import pytest

from shared.ledger.submissions import Outcome
from tests.jobs import FAILURE, RESULT, make_job

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


async def submit_many(ledger, count: int, tenant: str, **terms) -> list:
    jobs = [make_job(tenant=tenant) for _ in range(count)]
    for job in jobs:
        await ledger.submit(job, **terms)
    return jobs


def claim(ledger, job, generation: str = "1"):
    ledger.redis.rpop("gpu.default")
    return ledger.attempts.claim(str(job.id), generation, f"worker:{job.id}")


async def test_one_at_its_limit_is_passed_over_until_a_job_of_it_ends(ledger):
    first, second, third = await submit_many(ledger, 3, "alice", most_running=2)
    (other,) = await submit_many(ledger, 1, "bob")
    assert ledger.published() == [str(job.id) for job in (first, second, other)]

    ledger.attempts.succeed(claim(ledger, first), RESULT)

    assert ledger.published()[-1] == str(third.id)


@pytest.mark.parametrize("end", ["fail", "hand back", "hand back late", "cancel", "lose"])
async def test_however_a_job_leaves_its_device_the_next_one_takes_the_place(ledger, end):
    first, second = await submit_many(ledger, 2, "alice", most_running=1)
    attempt = claim(ledger, first)
    assert ledger.published() == []
    match end:
        case "fail":
            ledger.attempts.fail(attempt, FAILURE)
        case "hand back":
            ledger.attempts.hand_back(attempt, charged=False, failure=FAILURE)
        case "hand back late":
            ledger.attempts.hand_back(attempt, charged=False, delay=HOUR, failure=FAILURE)
        case "cancel":
            await ledger.submissions.cancel(first.id, "alice")
        case "lose":
            ledger.end_lease(first.id)
            await ledger.reaper.reap()

    # What comes back is older, and goes first.
    comes_back = end in ("hand back", "lose")
    assert ledger.published() == [str((first if comes_back else second).id)]


async def test_a_limit_counts_the_jobs_of_every_pool(ledger):
    big, small = make_job(pool="big"), make_job()
    await ledger.submit(big, most_running=1)
    await ledger.submit(small, most_running=1)
    assert ledger.published() == []

    await ledger.submissions.cancel(big.id, "alice")

    assert ledger.published() == [str(small.id)]


async def test_no_place_is_lost_with_a_record_that_an_operator_deleted(ledger):
    first, second = await submit_many(ledger, 2, "alice", most_running=1)
    claim(ledger, first)
    ledger.redis.delete(f"job:{first.id}")

    await ledger.reaper.reap()

    assert ledger.published() == [str(second.id)]


async def test_a_job_knows_whether_others_of_its_tenant_hold_it_back(ledger):
    first, second = await submit_many(ledger, 2, "alice", most_running=1)
    (other,) = await submit_many(ledger, 1, "bob")

    records = [await ledger.submissions.find(job.id, job.tenant) for job in (first, second, other)]

    standings = [await ledger.submissions.standing(record) for record in records]
    assert [standing.is_held_back for standing in standings] == [False, True, False]


def let_wait(ledger, job) -> None:
    ledger.redis.zadd("waiting:default", {str(job.id): 1})


async def test_when_a_job_has_waited_for_too_long_new_ones_are_refused(ledger):
    (old,) = await submit_many(ledger, 1, "bob")
    assert (await ledger.submit(shed_after=HOUR)).outcome is Outcome.ACCEPTED
    let_wait(ledger, old)

    assert (await ledger.submit(shed_after=HOUR)).outcome is Outcome.BEHIND
    assert (await ledger.submit()).outcome is Outcome.ACCEPTED
    claim(ledger, old)
    assert (await ledger.submit(shed_after=HOUR)).outcome is Outcome.ACCEPTED


async def test_one_that_waits_for_its_tenants_own_limit_refuses_nobody(ledger):
    first, second = await submit_many(ledger, 2, "bob", most_running=1)
    claim(ledger, first)
    let_wait(ledger, second)

    assert (await ledger.submit(shed_after=HOUR)).outcome is Outcome.ACCEPTED


async def test_a_repeated_request_gets_its_job_even_then(ledger):
    job = make_job()
    await ledger.submit(job, idempotency_key="k", digest="d")
    let_wait(ledger, job)

    receipt = await ledger.submit(idempotency_key="k", digest="d", shed_after=HOUR)

    assert (receipt.outcome, receipt.job_id) == (Outcome.REPEATED, job.id)
