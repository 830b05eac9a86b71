import pytest

from shared.ledger.submissions import Load, Outcome
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


@pytest.mark.parametrize(
    ("load", "ahead", "eta"),
    [
        (Load(waiting=0, seconds=None, seconds_per_work=0, slots=0), 0, 20.0),
        (Load(waiting=0, seconds=0.2, seconds_per_work=0, slots=4), 0, 1.0),
        (Load(waiting=9, seconds=3.0, seconds_per_work=0, slots=4), 9, 18.0),
        (Load(waiting=9, seconds=3.0, seconds_per_work=2.0, slots=4), 9, 32.0),
    ],
)
async def test_the_eta_grows_with_what_is_ahead_and_with_the_work_itself(load, ahead, eta):
    assert load.eta(ahead, work=5) == eta


async def _drain(ledger) -> list[str]:
    """Claim until nothing is left; the ids in the order in which workers would see them."""
    order = []
    while ids := ledger.published():
        ledger.redis.rpop("gpu.default")
        order.append(ids[0])
        assert ledger.attempts.claim(ids[0], "1", f"worker:{ids[0]}")
    return order
