"""A real ledger for tests that stand on one side of it and need the other sides now and then."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from shared.config import Settings
from shared.jobs import Job, JobRecord
from shared.ledger.attempts import Attempt, Attempts
from shared.ledger.connect import connect_for_requests
from shared.ledger.reaper import Reaped, Reaper
from shared.ledger.receipts import Submission
from shared.ledger.records import read
from shared.ledger.submissions import Submissions

T = TypeVar("T")


class Ledger:
    """All that a test asks of it, without an event loop."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self.redis = redis
        self.settings = settings
        self.attempts = Attempts(redis, settings)
        self._owners = itertools.count(1)

    def submit(self, *jobs: Job) -> None:
        """As the front door does."""

        async def submit(redis: AsyncRedis) -> None:
            for job in jobs:
                await Submissions(redis, self.settings).submit(Submission(job, 1.0, 1000, 1000))

        self._run(submit)

    def running(self, job: Job) -> Attempt:
        """An attempt at a job that is submitted now."""
        self.submit(job)
        return self.claim(job)

    def claim(self, job: Job) -> Attempt:
        """The next attempt at a job that waits."""
        generation = str(self.record(job).generation)
        attempt = self.attempts.claim(str(job.id), generation, f"worker:{next(self._owners)}")
        assert attempt is not None
        return attempt

    def record(self, job: Job) -> JobRecord:
        """Where the job stands."""
        record = read(self.redis.hgetall(f"job:{job.id}"))  # type: ignore[arg-type]
        assert record is not None
        return record

    def reap(self) -> Reaped:
        """One round."""
        return self._run(lambda redis: Reaper(redis, self.settings).reap())

    def make_due(self, key: str, job: Job) -> None:
        """Time passes for a job in `leases`, `delayed` or `outbox`."""
        assert self.redis.zadd(key, {str(job.id): 1}, xx=True, ch=True) == 1

    def due_in(self, key: str, job: Job) -> float:
        """Seconds until something happens to a job in one of these."""
        seconds, microseconds = self.redis.time()  # type: ignore[misc]
        due = self.redis.zscore(key, str(job.id))
        assert isinstance(due, float)
        return due / 1000 - seconds - microseconds / 1e6

    def _run(self, work: Callable[[AsyncRedis], Awaitable[T]]) -> T:
        port = self.redis.connection_pool.connection_kwargs["port"]

        async def run() -> T:
            async with connect_for_requests(f"redis://127.0.0.1:{port}/0") as redis:
                return await work(redis)

        return asyncio.run(run())
