"""A queue, and what everyone who has to do with it asks of Redis."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from kombu import Queue
from kombu.transport.virtual import Channel
from redis.asyncio import Redis

from infra.bench.jobs import PARAMS, POOL, submission
from shared.config import Settings
from shared.jobs import Job, Result
from shared.ledger.attempts import Attempts
from shared.ledger.connect import connect_for_requests, connect_for_work
from shared.ledger.deliveries import Deliveries, DeliveryLog
from shared.ledger.reaper import Reaper
from shared.ledger.standing import standing
from shared.ledger.submissions import Submissions
from shared.queue import make_celery, queue_name

WEBHOOK = "https://example.com/webhook"
RESULT = Result(
    keys=("generations/00000000-0000-0000-0000-000000000000-0.png",),
    file_prefix="00000000-0000-0000-0000-000000000000",
    width=512,
    height=512,
    scheduler="DDIMScheduler",
    seconds=1.5,
)


@dataclass(frozen=True)
class Line:
    """A queue, and everyone who has to do with it."""

    redis: Redis
    submissions: Submissions
    attempts: Attempts
    deliveries: Deliveries
    reaper: Reaper
    channel: Channel
    """As a Celery worker has it."""

    async def join(self, tenant: str, webhook: str | None = WEBHOOK) -> Job:
        """One more waits."""
        one = submission(tenant, webhook=webhook)
        await self.submissions.submit(one)
        return one.job

    async def pass_through(self) -> None:
        """One comes, and the first of those that wait goes all the way."""
        await self.join("last")
        message = Queue(queue_name(POOL), channel=self.channel).get(no_ack=True)
        (job_id, generation), _, _ = message.decode()
        attempt = self.attempts.claim(job_id, generation, "worker:1")
        assert attempt, "the message is not of a job that waits"
        self.attempts.renew([(attempt, 1, PARAMS.steps)])
        assert self.attempts.succeed(attempt, RESULT)
        [delivery] = await self.deliveries.claim(1, lease=timedelta(seconds=30))
        await self.deliveries.delivered(delivery, DeliveryLog(at=0, seconds=0.1, status=200))

    async def come_and_go(self) -> None:
        """One comes, and is cancelled."""
        job = await self.join("last", webhook=None)
        assert await self.submissions.cancel(job.id, "last")

    async def look_for_one(self) -> None:
        """As the door does when a customer asks for a job that waits."""
        [last] = await self.redis.zrange(f"waiting:{POOL}", -1, -1)
        tenant = await self.redis.hget(f"job:{last}", "tenant")
        record = await self.submissions.find(int(last), str(tenant))
        assert record, "a job is missing"
        await self.submissions.place(record)

    async def list_own(self) -> None:
        """The newest of a tenant."""
        assert (await self.submissions.newest("tenant-0", None, after=None, most=10))[0]

    async def count(self) -> None:
        """For the metrics."""
        await standing(self.redis)
        await self.deliveries.backlog()


@asynccontextmanager
async def open_line(url: str, database: int) -> AsyncIterator[Line]:
    """On one database of a server."""
    own = f"{url.rpartition('/')[0]}/{database}"
    settings = Settings(redis_url=own)
    with (
        connect_for_work(own) as work,
        make_celery(own, {POOL}) as celery,
        celery.connection_for_read() as broker,
    ):
        async with connect_for_requests(own) as redis:
            yield Line(
                redis,
                Submissions(redis, settings),
                Attempts(work, settings),
                Deliveries(redis, settings),
                Reaper(redis, settings),
                broker.default_channel,
            )


JOB, LOAD = "a job, request to webhook", "the pool's load"
WAYS: dict[str, Callable[[Line], Awaitable[Any]]] = {
    JOB: Line.pass_through,
    "a cancelled job": Line.come_and_go,
    "a job's eta": Line.look_for_one,
    LOAD: lambda line: line.submissions.load(POOL),
    "a tenant's list": Line.list_own,
    "metrics": Line.count,
    "a reaper's round": lambda line: line.reaper.reap(),
}
