"""What a job, and each look at the queue, costs Redis while ever more others wait.

Each depth is a database of one server, so that all are measured in turns.
"""

import asyncio
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from statistics import median
from typing import Any

import uvloop
from kombu import Queue
from kombu.transport.virtual import Channel
from redis.asyncio import Redis

from infra.bench.report import Effort, Row, Watch
from infra.local import Stack
from shared.config import Settings
from shared.jobs import Job, Params, Result, new_job_id
from shared.ledger.attempts import Attempts
from shared.ledger.connect import connect_for_requests, connect_for_work
from shared.ledger.deliveries import Deliveries, DeliveryLog
from shared.ledger.reaper import Reaper
from shared.ledger.standing import standing
from shared.ledger.submissions import Submission, Submissions
from shared.queue import make_celery, queue_name

POOL = "default"
TENANTS = 10
CLIENTS = 32
"""Who fill a queue at a time."""
UNLIMITED = 10**9
FORGETS = 1.0
"""Seconds in which the server gives back what ended connections took."""
FLAT = 1.1
"""Times what the shallowest queue costs, at most."""
STEPS = 30
PARAMS = Params(
    model_id="demo",
    prompt="an astronaut in front of the stars, oil painting",
    negative_prompt="blurry, low quality",
    init_image="https://example.com/photo.png",
    steps=STEPS,
    strength=0.7,
    guidance_scale=7.5,
    scheduler="DDIMScheduler",
    seeds=(42,),
)
RESULT = Result(
    keys=("generations/00000000-0000-0000-0000-000000000000-0.png",),
    file_prefix="00000000-0000-0000-0000-000000000000",
    width=512,
    height=512,
    scheduler="DDIMScheduler",
    seconds=1.5,
)
JOB = "a job, request to webhook"


@dataclass(frozen=True)
class Cost:
    """Of one job, or one look."""

    commands: float
    """Those inside scripts too."""
    microseconds: float
    """Of the server's main thread on a core."""


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

    async def join(self, tenant: str) -> Job:
        """One more waits."""
        prefix = str(uuid.uuid4())
        job = Job(
            id=new_job_id(),
            file_prefix=prefix,
            tenant=tenant,
            pool=POOL,
            dialect="v3",
            params=PARAMS,
            webhook="https://example.com/webhook",
        )
        await self.submissions.submit(
            Submission(
                job,
                weight=1,
                most_live=UNLIMITED,
                most_waiting=UNLIMITED,
                idempotency_key=prefix,
                digest=prefix,
            )
        )
        return job

    async def pass_through(self) -> None:
        """One comes, and the first of those that wait goes all the way."""
        await self.join("last")
        message = Queue(queue_name(POOL), channel=self.channel).get()
        message.ack()
        (job_id, generation), _, _ = message.decode()
        attempt = self.attempts.claim(job_id, generation, "worker:1")
        assert attempt, "the message is not of a job that waits"
        self.attempts.renew([(attempt, 1, STEPS)])
        assert self.attempts.succeed(attempt, RESULT)
        [delivery] = await self.deliveries.claim(1, lease=timedelta(seconds=30))
        await self.deliveries.delivered(delivery, DeliveryLog(at=0, seconds=0.1, status=200))

    async def come_and_go(self) -> None:
        """One comes, is looked for, and is cancelled."""
        job = await self.join("first")
        assert await self.submissions.cancel(job.id, "first")

    async def look_for_one(self) -> None:
        """As the door does when a customer asks for a job that waits."""
        [last] = await self.redis.zrange(f"waiting:{POOL}", -1, -1)
        tenant = await self.redis.hget(f"job:{last}", "tenant")
        record = await self.submissions.find(int(last), str(tenant))
        assert record, "a job is missing"
        await self.submissions.standing(record)
        await self.submissions.load(POOL)

    async def list_own(self) -> None:
        """The newest of a tenant."""
        assert (await self.submissions.newest("tenant-0", None, after=None, most=10))[0]

    async def count(self) -> None:
        """For the metrics."""
        await standing(self.redis)
        await self.deliveries.backlog()


WAYS: dict[str, Callable[[Line], Awaitable[Any]]] = {
    JOB: Line.pass_through,
    "a cancelled job": Line.come_and_go,
    "a job's eta": Line.look_for_one,
    "the pool's load": lambda line: line.submissions.load(POOL),
    "a tenant's list": Line.list_own,
    "metrics": Line.count,
    "a reaper's round": lambda line: line.reaper.reap(),
}


def measure(effort: Effort, watch: Watch) -> tuple[dict[str, Any], list[Row]]:
    """Fill the queues, then serve each a little, in turns."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(folder, port=0, processes=("redis",)) as stack,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        sizes, costs = runner.run(_measure(stack.redis_url, effort, watch))
    kept = {
        way: {depth: asdict(cost) for depth, cost in by_depth.items()}
        for way, by_depth in costs.items()
    }
    return {"bytes_per_job": sizes, "costs": kept}, rows(sizes, costs)


Costs = dict[str, dict[int, Cost]]


async def _measure(url: str, effort: Effort, watch: Watch) -> tuple[dict[int, float], Costs]:
    sizes: dict[int, float] = {}
    async with AsyncExitStack() as exits:
        lines = {
            depth: await exits.enter_async_context(_line(url, database))
            for database, depth in enumerate(effort.depths)
        }
        await _warm_up(lines[effort.depths[0]])
        for done, (depth, line) in enumerate(lines.items()):
            watch(done / 2 / len(lines), f"{depth:,} jobs that wait")
            sizes[depth] = await _fill(line, depth)
        await _at_rest(line.redis)
        every: dict[str, dict[int, list[Cost]]] = {
            way: {depth: [] for depth in lines} for way in WAYS
        }
        for turn in range(effort.depth_rounds):
            watch(
                0.5 + turn / 2 / effort.depth_rounds, f"{effort.jobs_at_depth} jobs at each depth"
            )
            for depth in [*lines][:: -1 if turn % 2 else 1]:
                for way, walk in WAYS.items():
                    every[way][depth].append(await _cost(lines[depth], walk, effort.jobs_at_depth))
    return sizes, {
        way: {depth: _middle(costs) for depth, costs in by_depth.items()}
        for way, by_depth in every.items()
    }


@asynccontextmanager
async def _line(url: str, database: int) -> AsyncIterator[Line]:
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


async def _warm_up(line: Line) -> None:
    """Not counted: the server learns the scripts."""
    await line.join("tenant-0")
    for walk in WAYS.values():
        await walk(line)
    await line.redis.flushdb()


async def _fill(line: Line, depth: int) -> float:
    """Bytes that each job takes."""
    before = await _memory(line.redis)
    for first in range(0, depth, CLIENTS):
        numbers = range(first, min(depth, first + CLIENTS))
        await asyncio.gather(*(line.join(f"tenant-{number % TENANTS}") for number in numbers))
    return (await _memory(line.redis) - before) / depth


async def _memory(redis: Redis) -> int:
    """Bytes, without those for our connections and for what is on its way to the disk."""
    await redis.connection_pool.disconnect()
    await asyncio.sleep(FORGETS)
    info = await redis.info("memory")
    return int(info["used_memory"] - info["mem_aof_buffer"])


async def _at_rest(redis: Redis) -> None:
    """Until no copy of the server writes its file anew."""
    # Nobody tells.
    while (await redis.info("persistence"))["aof_rewrite_in_progress"]:  # noqa: ASYNC110
        await asyncio.sleep(0.1)


async def _cost(line: Line, walk: Callable[[Line], Awaitable[Any]], count: int) -> Cost:
    commands, seconds = await _spent(line.redis)
    for _ in range(count):
        await walk(line)
    commands_then, seconds_then = await _spent(line.redis)
    return Cost((commands_then - commands - 1) / count, 1e6 * (seconds_then - seconds) / count)


async def _spent(redis: Redis) -> tuple[int, float]:
    """Commands and seconds of the server so far."""
    info: Any = await redis.info("all")
    seconds = info["used_cpu_user_main_thread"] + info["used_cpu_sys_main_thread"]
    return int(info["total_commands_processed"]), float(seconds)


def _middle(costs: Sequence[Cost]) -> Cost:
    return Cost(median(c.commands for c in costs), median(c.microseconds for c in costs))


def rows(sizes: Mapping[int, float], costs: Costs) -> list[Row]:
    """What the longest queue costs, relative to the shortest."""
    least, *_, most = sizes
    commands, seconds = (
        {way: getattr(by[most], unit) / getattr(by[least], unit) for way, by in costs.items()}
        for unit in ("commands", "microseconds")
    )
    steepest = max(commands, key=lambda way: commands[way])

    def flat(what: str, ratio: float, now: str) -> Row:
        return Row(what, f"{ratio:.2f}x ({now})", f"at most {FLAT:g}x", ratio <= FLAT)

    return [
        flat(
            f"Redis, a waiting job among {most:,} / {least:,}",
            sizes[most] / sizes[least],
            f"{sizes[most]:,.0f} bytes",
        ),
        *(
            flat(f"  commands of {way}", commands[way], f"{costs[way][most].commands:.0f}")
            for way in dict.fromkeys((JOB, steepest))
        ),
        *(
            Row(f"  core time of {way}", f"{seconds[way]:.2f}x ({by[most].microseconds:.0f} us)")
            for way, by in costs.items()
        ),
    ]
