"""A tenant's running limit, and new jobs that are refused because old ones wait for too long."""

from datetime import timedelta

import pytest

from shared.config import Settings
from shared.ledger.estimates import Load, Service
from shared.ledger.reaper import Reaper
from shared.ledger.receipts import Outcome
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


async def test_a_job_that_is_handed_back_and_published_at_once_counts_again(ledger):
    (first,) = await submit_many(ledger, 1, "alice", most_running=2)
    ledger.attempts.hand_back(claim(ledger, first), charged=False, failure=FAILURE)

    second, *_ = await submit_many(ledger, 3, "alice", most_running=2)

    assert ledger.published() == [str(first.id), str(second.id)]
    assert ledger.redis.smembers("busy:alice") == {str(first.id), str(second.id)}


@pytest.mark.parametrize("order", [("big", "default"), ("default", "big")])
async def test_of_all_pools_the_job_that_came_first_takes_the_place(ledger, order):
    running = make_job()
    jobs = [make_job(pool=pool) for pool in order]
    for job in (running, *jobs):
        await ledger.submit(job, most_running=1)

    ledger.attempts.succeed(claim(ledger, running), RESULT)

    published = [ledger.redis.zrange(f"published:{job.pool}", 0, -1) for job in jobs]
    assert published == [[str(jobs[0].id)], []]


async def test_one_that_comes_back_goes_before_the_younger_of_another_pool(ledger):
    old, young = make_job(pool="big"), make_job()
    await ledger.submit(old, most_running=1)
    attempt = ledger.attempts.claim(str(old.id), "1", "worker:1")
    await ledger.submit(young, most_running=1)

    ledger.attempts.hand_back(attempt, charged=False, failure=FAILURE)

    assert ledger.redis.zrange("published:big", 0, -1) == [str(old.id)]
    assert ledger.published() == []


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

    standings = [(await ledger.submissions.place(record))[0] for record in records]
    assert [standing.is_held_back for standing in standings] == [False, True, False]


async def test_the_eta_of_one_that_is_held_back_counts_the_jobs_of_its_tenant_before_it(ledger):
    *_, last = await submit_many(ledger, 7, "alice", most_running=2)
    record = await ledger.submissions.find(last.id, last.tenant)
    standing, _ = await ledger.submissions.place(record)
    service = Service(jobs=1, work=4, seconds=10, work_squared=16, work_seconds=40, gaps=10)
    idle = Load(waiting=7, workers=9, slots=90, services={"calm": service}, bounds={"calm": 1})

    assert standing.rounds == 2.5  # five have to end, two at a time
    assert idle.before(0, 4).seconds == 10
    assert idle.before(0, 4, rounds=standing.rounds).seconds == 35


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


async def test_nor_does_it_hide_or_show_what_waits_for_a_device(ledger):
    first, held_back = await submit_many(ledger, 2, "bob", most_running=1)
    claim(ledger, first)
    let_wait(ledger, held_back)
    *_, last = await submit_many(ledger, 6, "carol")

    assert (await ledger.submit(shed_after=HOUR)).outcome is Outcome.ACCEPTED
    let_wait(ledger, last)
    assert (await ledger.submit(shed_after=HOUR)).outcome is Outcome.BEHIND


async def test_one_that_its_tenant_held_back_until_now_has_waited_for_no_device(ledger):
    first, held_back = await submit_many(ledger, 2, "bob", most_running=1)
    let_wait(ledger, held_back)

    ledger.attempts.succeed(claim(ledger, first), RESULT)

    assert ledger.published() == [str(held_back.id)]
    assert (await ledger.submit(shed_after=HOUR)).outcome is Outcome.ACCEPTED


async def test_many_that_are_held_back_do_not_hide_one_that_is_published(ledger):
    running, *held_back = await submit_many(ledger, 120, "bob", most_running=1)
    claim(ledger, running)
    (published,) = await submit_many(ledger, 1, "carol")
    for job in (*held_back, published):
        let_wait(ledger, job)
    ledger.redis.zadd("waiting:default", {str(published.id): 2})

    assert (await ledger.submit(shed_after=HOUR)).outcome is Outcome.BEHIND


async def test_one_that_waits_for_its_tenants_own_limit_is_not_too_late_to_start(ledger):
    reaper = Reaper(ledger.async_redis, Settings(publish_ahead=4, start_within=60))
    first, held_back = await submit_many(ledger, 2, "bob", most_running=1)
    attempt = claim(ledger, first)
    let_wait(ledger, held_back)

    assert (await reaper.reap()).called_off == 0
    ledger.attempts.succeed(attempt, RESULT)
    assert ledger.published() == [str(held_back.id)]
    assert (await reaper.reap()).called_off == 0

    ledger.redis.set("freed:bob", 1)  # and then no device took it for as long
    assert (await reaper.reap()).called_off == 1


async def test_where_no_device_takes_anything_a_limit_saves_no_job(ledger):
    reaper = Reaper(ledger.async_redis, Settings(publish_ahead=4, start_within=60))
    for place, job in enumerate(await submit_many(ledger, 3, "bob", most_running=1)):
        ledger.redis.zadd("waiting:default", {str(job.id): place})

    assert (await reaper.reap()).called_off == 3


async def test_a_repeated_request_gets_its_job_even_then(ledger):
    job = make_job()
    await ledger.submit(job, idempotency_key="k", digest="d")
    let_wait(ledger, job)

    receipt = await ledger.submit(idempotency_key="k", digest="d", shed_after=HOUR)

    assert (receipt.outcome, receipt.job_id) == (Outcome.REPEATED, job.id)
