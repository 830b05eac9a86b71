"""What may go from the bucket, and what must not: a real ledger and a real S3 server."""

import asyncio
from datetime import datetime, timedelta

import pytest

from shared.jobs import Job
from shared.ledger.connect import connect_for_requests
from shared.object_store import ObjectStore, output_keys
from tests.jobs import FAILURE, RESULT, make_job
from tests.ledger import Ledger
from tests.worker.courier.running import courier, until
from worker.courier.config import CourierSettings
from worker.courier.sweep import Page, Sweep, sweep_for_ever


class Bucket:
    """A bucket, the ledger of its jobs, and a sweep of both."""

    def __init__(self, redis, valkey_server, s3_server, **settings) -> None:
        self.settings = CourierSettings(
            redis_url=valkey_server.url,
            s3_endpoint=s3_server.endpoint,
            s3_access_key=s3_server.access_key,
            s3_secret_key=s3_server.secret_key,
            s3_bucket="swept",
            **{"sweep_after": timedelta(0)} | settings,
        )
        self.ledger = Ledger(redis, self.settings)
        self.store = ObjectStore.connect(self.settings)
        self.store.ensure_bucket()

    def put(self, *keys: str, job: Job | None = None) -> None:
        for key in keys:
            self.store.put(key, b"a picture", "image/png", job_id=job and job.id)

    def has(self, *keys: str) -> bool:
        """Whether all of them are there."""
        try:
            return all(self.store.get(key) for key in keys)
        except FileNotFoundError:
            return False

    def sweep(self) -> list[Page]:
        """What was removed."""

        async def sweep(redis) -> list[Page]:
            sweep, pages = Sweep(redis, self.store, self.settings), []
            async for page in sweep.pages():
                await sweep.remove(page)
                pages.append(page)
            return pages

        return self._run(sweep)

    def is_due(self) -> bool:
        """Asked as a courier does."""
        return self._run(lambda redis: Sweep(redis, self.store, self.settings).is_due())

    def _run(self, work):
        async def run():
            async with connect_for_requests(self.settings.redis_url) as redis:
                return await work(redis)

        return asyncio.run(run())


@pytest.fixture
def bucket(redis, valkey_server, s3_server) -> Bucket:
    return Bucket(redis, valkey_server, s3_server)


@pytest.fixture
def days_later(monkeypatch):
    """For the store, the clock goes on by so many days."""

    def go_on(days: float) -> None:
        class Later(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + timedelta(days=days)

        monkeypatch.setattr("shared.object_store.datetime", Later)

    return go_on


def second_attempt(bucket: Bucket):
    """A job whose first attempt was lost after it had stored its images; (job, second attempt)."""
    job = make_job()
    bucket.ledger.running(job)
    bucket.put(*output_keys(job, 1), job=job)
    bucket.ledger.make_due("leases", job)
    bucket.ledger.reap()
    attempt = bucket.ledger.claim(job)
    bucket.put(*output_keys(job, 2), job=job)
    return job, attempt


def test_what_a_lost_attempt_stored_goes_when_another_one_has_won(bucket):
    job, attempt = second_attempt(bucket)
    result = RESULT.model_copy(update={"keys": tuple(output_keys(job, 2))})
    assert bucket.ledger.attempts.succeed(attempt, result)

    bucket.sweep()

    assert bucket.has(*output_keys(job, 2))
    assert not bucket.has(*output_keys(job, 1))
    assert bucket.sweep() == []


def test_nothing_of_a_job_that_is_not_over_goes(bucket):
    job, _ = second_attempt(bucket)

    assert bucket.sweep() == []

    assert bucket.has(*output_keys(job, 1), *output_keys(job, 2))


def test_all_that_a_failed_job_stored_goes(bucket):
    job, attempt = second_attempt(bucket)
    bucket.ledger.attempts.fail(attempt, FAILURE)

    bucket.sweep()

    assert not any(bucket.has(key) for n in (1, 2) for key in output_keys(job, n))


def test_a_job_that_ended_a_moment_ago_is_left_alone(redis, valkey_server, s3_server):
    bucket = Bucket(redis, valkey_server, s3_server, sweep_after=timedelta(hours=1))
    job, attempt = second_attempt(bucket)
    bucket.ledger.attempts.fail(attempt, FAILURE)

    assert bucket.sweep() == []

    assert bucket.has(*output_keys(job, 1))


def test_a_ledger_that_lost_its_records_costs_no_picture(bucket, days_later):
    job, attempt = second_attempt(bucket)
    bucket.ledger.attempts.fail(attempt, FAILURE)
    due = bucket.ledger.redis.zrange("leftovers", 0, -1, withscores=True)
    bucket.ledger.redis.flushall()
    bucket.ledger.redis.zadd("leftovers", dict(due))
    days_later(400)

    bucket.sweep()

    assert bucket.has(*output_keys(job, 1), *output_keys(job, 2))


def test_pictures_go_when_the_settings_say_that_their_time_is_over(
    redis, valkey_server, s3_server, days_later
):
    bucket = Bucket(redis, valkey_server, s3_server, keep_outputs=timedelta(days=30))
    output, temporary, upload = "generations/a-0.png", "temp/a-0.png", "uploads/a.png"
    others = "backup/a.png"
    bucket.put(output, temporary, upload, others)

    days_later(1.1)
    assert [key for page in bucket.sweep() for key in page.keys] == [upload, temporary]
    assert bucket.has(output, others)
    days_later(30.1)
    bucket.sweep()

    assert not bucket.has(output)
    assert bucket.has(others)


def test_an_input_goes_after_a_day_unless_its_job_still_waits_for_it(bucket, days_later):
    waits, over = make_job(), make_job()
    bucket.ledger.submit(waits)
    bucket.ledger.attempts.fail(bucket.ledger.running(over), FAILURE)
    bucket.put("inputs/waits", job=waits)
    bucket.put("inputs/over", job=over)
    bucket.put("inputs/refused", job=make_job())
    bucket.put("inputs/of-an-earlier-version")
    bucket.sweep()
    assert bucket.has("inputs/waits", "inputs/over", "inputs/refused")

    days_later(1.1)
    bucket.sweep()

    assert bucket.has("inputs/waits")
    assert not any(bucket.has(f"inputs/{n}") for n in ("over", "refused", "of-an-earlier-version"))


def test_what_a_newer_version_recorded_is_needed(bucket, days_later):
    over, waits = make_job(), make_job()
    bucket.ledger.attempts.fail(bucket.ledger.running(over), FAILURE)
    bucket.ledger.submit(waits)
    bucket.put(*output_keys(over, 1), job=over)
    bucket.put("inputs/waits", job=waits)
    for job in (over, waits):
        bucket.ledger.redis.hset(f"job:{job.id}", "state", "a state of tomorrow")
    days_later(1.1)

    assert bucket.sweep() == []

    assert bucket.has("inputs/waits", *output_keys(over, 1))
    assert bucket.ledger.redis.zcard("leftovers") == 1


def test_an_input_whose_job_is_no_number_is_of_no_job(bucket, days_later):
    bucket.store.put("inputs/odd", b"", "image/png", job_id="odd")
    days_later(1.1)

    bucket.sweep()

    assert not bucket.has("inputs/odd")


def test_one_courier_sweeps_at_a_time(bucket):
    assert [bucket.is_due() for _ in range(3)] == [True, False, False]
    assert 0 < bucket.ledger.redis.ttl("swept") <= 3600


def test_a_courier_sweeps_beside_its_deliveries(bucket, valkey_server, s3_server, tmp_path):
    job, attempt = second_attempt(bucket)
    bucket.ledger.attempts.fail(attempt, FAILURE)
    settings = {name: getattr(bucket.settings, name) for name in ("s3_endpoint", "s3_bucket")}
    keys = {"s3_access_key": s3_server.access_key, "s3_secret_key": s3_server.secret_key}

    with courier(valkey_server.url, tmp_path, **settings | keys, sweep=3600, sweep_after=0):
        until(lambda: not bucket.ledger.redis.exists("leftovers"))

    assert not any(bucket.has(key) for n in (1, 2) for key in output_keys(job, n))


@pytest.mark.parametrize("trouble", ["redis", "s3"])
def test_when_one_of_both_is_away_nothing_is_removed_and_the_courier_goes_on(
    bucket, trouble, caplog
):
    job, attempt = second_attempt(bucket)
    bucket.ledger.attempts.fail(attempt, FAILURE)
    nowhere = "127.0.0.1:1"
    if trouble == "s3":
        gone = bucket.settings.model_copy(update={"s3_endpoint": f"http://{nowhere}"})
        store, url = ObjectStore.connect(gone), bucket.settings.redis_url
    else:
        store, url = bucket.store, f"redis://{nowhere}/0"

    async def run() -> None:
        async with connect_for_requests(url) as redis:
            sweeping = asyncio.create_task(
                sweep_for_ever(Sweep(redis, store, bucket.settings), every=timedelta(hours=1))
            )
            while "not swept" not in caplog.text:
                await asyncio.sleep(0.01)
            assert not sweeping.done()
            sweeping.cancel()

    asyncio.run(run())

    assert bucket.has(*output_keys(job, 1))
    assert bucket.ledger.redis.zcard("leftovers") == 1


def test_a_sweep_may_be_due_more_often_than_every_second(redis, valkey_server, s3_server):
    bucket = Bucket(redis, valkey_server, s3_server, sweep=timedelta(milliseconds=900))

    assert bucket.is_due()
    assert bucket.ledger.redis.pttl("swept") <= 900
