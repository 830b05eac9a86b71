from collections.abc import AsyncIterator

import pytest

from shared.config import Settings
from shared.ledger.attempts import Attempts
from shared.ledger.connect import connect_for_requests
from shared.ledger.deliveries import Deliveries
from shared.ledger.pauses import Pauses
from shared.ledger.reaper import Reaper
from shared.ledger.receipts import Submission
from shared.ledger.submissions import Submissions
from tests.jobs import make_job


class Ledger:
    """All sides of the ledger at once."""

    def __init__(self, redis, async_redis, settings: Settings) -> None:
        self.redis, self.async_redis = redis, async_redis
        self.attempts = Attempts(redis, settings)
        self.submissions = Submissions(async_redis, settings)
        self.deliveries = Deliveries(async_redis, settings)
        self.reaper = Reaper(async_redis, settings)
        self.pauses = Pauses(async_redis, settings)

    async def submit(self, job=None, *, weight=1.0, idempotency_key="", digest="", **limits):
        """Submit a job; the receipt."""
        job, terms = job or make_job(), {"most_live": 1000, "most_waiting": 1000} | limits
        return await self.submissions.submit(
            Submission(job, weight, idempotency_key=idempotency_key, digest=digest, **terms)
        )

    async def running(self, job=None, owner="worker:1"):
        """A job that is submitted and claimed."""
        job = job or make_job()
        await self.submit(job)
        return self.attempts.claim(str(job.id), "1", owner)

    async def state(self, job_id: int) -> str:
        return (await self.submissions.find(job_id, "alice")).state

    def end_lease(self, job_id: int) -> None:
        """As if nobody had renewed it for long."""
        self.redis.zadd("leases", {str(job_id): 1})

    def published(self) -> list[str]:
        """Job ids of the messages in Celery's queue, the next to be taken first."""
        return [
            m.split('[[\\"')[1].split("\\")[0] for m in self.redis.lrange("gpu.default", 0, -1)
        ][::-1]


@pytest.fixture
async def ledger(redis, valkey_server, anyio_backend) -> AsyncIterator[Ledger]:
    async with connect_for_requests(valkey_server.url) as async_redis:
        yield Ledger(redis, async_redis, Settings(publish_ahead=4))
