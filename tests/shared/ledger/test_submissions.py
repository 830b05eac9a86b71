from dataclasses import asdict, replace
from datetime import timedelta

import pytest

from api.terms import Place
from shared.ledger.estimates import Load, Service
from shared.ledger.receipts import Outcome
from tests.jobs import FAILURE, make_job

pytestmark = pytest.mark.anyio


async def test_an_accepted_job_is_recorded_and_on_its_way(ledger):
    job = make_job()

    receipt = await ledger.submit(job)

    record = await ledger.submissions.find(job.id, "alice")
    assert (receipt.outcome, receipt.job_id) == (Outcome.ACCEPTED, job.id)
    assert (record.job, record.state, record.attempts) == (job, "queued", 0)
    assert ledger.published() == [str(job.id)]


async def test_another_tenants_job_is_not_found(ledger):
    job = make_job(tenant="alice")
    await ledger.submit(job)

    assert await ledger.submissions.find(job.id, "mallory") is None


async def test_a_submission_sent_twice_is_one_job(ledger):
    job = make_job()

    receipts = [await ledger.submit(job), await ledger.submit(job)]

    assert [r.outcome for r in receipts] == [Outcome.ACCEPTED, Outcome.ACCEPTED]
    assert ledger.published() == [str(job.id)]


async def test_an_id_that_is_taken_is_refused(ledger):
    await ledger.submit(make_job(id=7))

    assert (await ledger.submit(make_job(id=7))).outcome is Outcome.COLLISION


async def test_an_idempotency_key_gives_the_first_job_again(ledger):
    first, second = make_job(), make_job()

    await ledger.submit(first, idempotency_key="k", digest="d")
    receipt = await ledger.submit(second, idempotency_key="k", digest="d")

    assert (receipt.outcome, receipt.job_id) == (Outcome.REPEATED, first.id)
    assert ledger.published() == [str(first.id)]


async def test_an_idempotency_key_with_another_request_is_a_conflict(ledger):
    await ledger.submit(idempotency_key="k", digest="d")

    receipt = await ledger.submit(idempotency_key="k", digest="other")

    assert receipt.outcome is Outcome.CONFLICT


async def test_idempotency_keys_of_two_tenants_do_not_meet(ledger):
    await ledger.submit(make_job(tenant="alice"), idempotency_key="k", digest="d")

    receipt = await ledger.submit(make_job(tenant="bob"), idempotency_key="k", digest="d")

    assert receipt.outcome is Outcome.ACCEPTED


async def test_a_tenant_with_too_many_live_jobs_is_refused_until_one_ends(ledger):
    attempt = await ledger.running()

    assert (await ledger.submit(most_live=1)).outcome is Outcome.TENANT_FULL
    assert (await ledger.submit(make_job(tenant="bob"), most_live=1)).outcome is Outcome.ACCEPTED
    ledger.attempts.fail(attempt, FAILURE)
    assert (await ledger.submit(most_live=1)).outcome is Outcome.ACCEPTED


async def test_a_full_pool_refuses_everyone(ledger):
    await ledger.submit()

    receipt = await ledger.submit(make_job(tenant="bob"), most_waiting=1)

    assert receipt.outcome is Outcome.FULL


async def test_when_memory_runs_out_new_jobs_are_refused_and_running_ones_still_end(ledger):
    attempt = await ledger.running()
    ledger.redis.delete("room")
    ledger.redis.config_set("maxmemory", int(ledger.redis.info("memory")["used_memory"] * 1.05))
    try:
        assert (await ledger.submit()).outcome is Outcome.FULL
        assert ledger.attempts.fail(attempt, FAILURE)
    finally:
        ledger.redis.config_set("maxmemory", 0)


async def test_tenants_take_turns_however_many_jobs_one_has(ledger):
    flood = [make_job(tenant="flood") for _ in range(10)]
    for job in flood:
        await ledger.submit(job)
    small = make_job(tenant="small")
    await ledger.submit(small)

    order = await _drain(ledger)

    # Four of the flood were on their way already; the small tenant's turn comes with the next.
    assert order.index(str(small.id)) <= 5
    assert len(order) == 11


async def test_a_heavier_tenant_gets_more_turns(ledger):
    for _ in range(4):
        await ledger.submit(make_job(tenant="first"))
    heavy = [make_job(tenant="heavy") for _ in range(9)]
    light = [make_job(tenant="light") for _ in range(9)]
    for pair in zip(heavy, light, strict=True):
        await ledger.submit(pair[0], weight=2)
        await ledger.submit(pair[1], weight=1)

    order = (await _drain(ledger))[4:]

    heavy_ids = {str(job.id) for job in heavy}
    assert sum(job_id in heavy_ids for job_id in order[:9]) == 6


async def test_within_a_tenant_urgent_jobs_come_first_then_older_ones(ledger):
    for _ in range(4):
        await ledger.submit(make_job(tenant="first"))
    usual, usual_too, urgent = make_job(), make_job(), make_job(priority=0)
    for job in (usual, usual_too, urgent):
        await ledger.submit(job)

    order = await _drain(ledger)

    assert order[4:] == [str(urgent.id), str(usual.id), str(usual_too.id)]


async def test_a_record_that_an_operator_deleted_stops_nobody(ledger):
    lost, kept = [make_job() for _ in range(5)], make_job()
    for job in (*lost, kept):
        await ledger.submit(job)
    for job in lost:
        ledger.redis.delete(f"job:{job.id}")
        ledger.redis.zrem("published:default", str(job.id))

    await ledger.reaper.reap()

    assert ledger.published()[-1] == str(kept.id)


SERVICE = Service(jobs=2, work=4, seconds=8, work_squared=10, work_seconds=20, gaps=2)
"""Two jobs, of work 1 and 3, that took 2 s and 6 s, of which the worker had 1 s for each alone."""


@pytest.mark.parametrize(("work", "seconds"), [(1, 2), (3, 6), (10, 20)])
def test_a_job_takes_what_others_of_its_size_took(work, seconds):
    assert SERVICE.takes(work) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("load", "turns", "seconds"),
    [
        (Load(waiting=0), 1, 20.0),
        (Load(0, workers=1, slots=4, services={"calm": SERVICE}), 0, 4.0),
        (Load(9, 18, 4, workers=1, slots=4, services={"busy": SERVICE}), 8, 13.0),
        (Load(9, 54, 4, workers=1, slots=4, services={"busy": SERVICE}), 8, 31.0),
        (Load(9, 54, 8, workers=2, slots=8, services={"busy": SERVICE}), 8, 17.5),
    ],
    ids=["unknown", "alone", "queue", "large ones before it", "two workers"],
)
def test_a_job_is_expected_later_with_what_is_ahead_and_with_its_own_work(load, turns, seconds):
    assert load.before(turns, work=2).seconds == seconds


def test_the_eta_is_as_far_off_as_was_learned_for_its_size():
    fields = {
        f"{name}{size}": value for name, value in asdict(SERVICE).items() for size in ("", ":18")
    }
    services = Service.read("calm", fields | {"seconds:18": 16})
    load = Load(0, workers=1, slots=4, services=services, bounds={"calm:18": 3, "calm:20": 4})

    assert load.before(0, work=2, size="18").eta == 3 * 8
    assert load.before(0, work=2, size="20").eta == 4 * 4


async def test_tenants_take_turns_so_a_newcomer_is_not_behind_a_long_lane(ledger):
    jobs = [make_job(tenant="alice") for _ in range(20)]
    late = make_job(tenant="bob")
    for job in (*jobs, late):
        await ledger.submit(job)
    ledger.redis.zincrby("waiting:default", 1, str(late.id))  # a millisecond later than the others
    record = await ledger.submissions.find(late.id, "bob")

    standing, _ = await ledger.submissions.place(record)

    assert (standing.ahead, standing.turns) == (20, 5)


async def test_a_job_that_waits_for_another_try_is_told_of_its_delay_and_of_those_before_it(ledger):
    attempt = await ledger.running()
    ledger.attempts.hand_back(attempt, charged=False, delay=timedelta(minutes=1), failure=FAILURE)
    older = make_job(tenant="bob")
    await ledger.submit(older)
    ledger.redis.zadd("waiting:default", {str(older.id): 1})
    record = await ledger.submissions.find(attempt.job.id, "alice")

    standing, _ = await ledger.submissions.place(record)

    assert (standing.waits, standing.ahead, standing.turns) == (True, 1, 1)
    assert standing.delay == pytest.approx(60, abs=5)
    load = await ledger.submissions.load("default")
    soon = Place(replace(standing, delay=0.0), load)
    assert Place(standing, load).eta(record) == pytest.approx(soon.eta(record) + 60, abs=5)


async def test_the_work_that_waits_is_known_whatever_becomes_of_a_job(ledger):
    jobs = [make_job() for _ in range(3)]
    for job in jobs:
        await ledger.submit(job)
    work = jobs[0].params.work
    assert (await ledger.submissions.load("default")).backlog == pytest.approx(3 * work)

    attempt = ledger.attempts.claim(str(jobs[0].id), "1", "w")
    await ledger.submissions.cancel(jobs[1].id, "alice")
    assert (await ledger.submissions.load("default")).backlog == pytest.approx(work)

    ledger.attempts.hand_back(attempt, charged=False, failure=FAILURE)
    assert (await ledger.submissions.load("default")).backlog == pytest.approx(2 * work)


async def _drain(ledger) -> list[str]:
    """Claim until nothing is left; the ids in the order in which workers would see them."""
    order = []
    while ids := ledger.published():
        ledger.redis.rpop("gpu.default")
        order.append(ids[0])
        assert ledger.attempts.claim(ids[0], "1", f"worker:{ids[0]}")
    return order
