"""A tenant's jobs, newest first."""

import pytest

from tests.jobs import make_job

pytestmark = pytest.mark.anyio


async def newest(ledger, tenant="alice", *, track_id=None, after=None, most=10) -> list[int]:
    records, _ = await ledger.submissions.newest(tenant, track_id, after=after, most=most)
    return [record.job.id for record in records]


async def submit_at_different_times(ledger, *jobs):
    for place, job in enumerate(jobs, start=1):
        await ledger.submit(job)
        for index in ledger.redis.keys("jobs:*"):
            ledger.redis.zadd(index, {str(job.id): place}, xx=True)


async def test_the_newest_come_first_and_a_page_goes_on_where_the_last_one_ended(ledger):
    await submit_at_different_times(ledger, *(make_job(id=n) for n in (5, 3, 9)))

    assert await newest(ledger) == [9, 3, 5]
    assert await newest(ledger, most=2) == [9, 3]
    assert await newest(ledger, after=3) == [5]
    assert await newest(ledger, after=4) == []


async def test_a_job_that_has_expired_does_not_end_the_list(ledger):
    await submit_at_different_times(ledger, *(make_job(id=n) for n in (5, 3, 9)))
    ledger.redis.delete("job:3")

    records, more = await ledger.submissions.newest("alice", None, after=None, most=2)

    assert ([record.job.id for record in records], more) == ([9], 3)
    assert await newest(ledger, after=more) == [5]


async def test_only_the_tenants_own_are_listed(ledger):
    await submit_at_different_times(
        ledger, make_job(id=1, track_id="a"), make_job(id=2, track_id="a", tenant="bob")
    )

    assert await newest(ledger) == [1]
    assert await newest(ledger, "bob", track_id="a") == [2]
    assert await newest(ledger, "carol") == []


@pytest.mark.parametrize(
    ("track_id", "asked"),
    [("order-7", "order-7"), (7, "7"), ("7", "7"), ({"b": 1, "a": [2]}, '{"a": [2], "b": 1}')],
)
async def test_a_track_id_is_found_by_its_text(ledger, track_id, asked):
    await submit_at_different_times(
        ledger, make_job(id=1, track_id=track_id), make_job(id=2, track_id="x"), make_job(id=3)
    )

    assert await newest(ledger, track_id=asked) == [1]


async def test_the_index_ends_with_the_jobs_and_holds_no_more_than_a_thousand(ledger):
    ledger.redis.zadd("jobs:alice", {str(10_000 + n): n for n in range(1000)})
    await ledger.submit(make_job(id=1))

    assert ledger.redis.zcard("jobs:alice") == 1000
    assert ledger.redis.pttl("jobs:alice") > 0
    assert await newest(ledger) == [1]
