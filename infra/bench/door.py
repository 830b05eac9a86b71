"""The front door's one round trip to the ledger, beside a bare Celery call, on one core.

What HTTP, authentication and validation cost before it is not in these numbers.
"""

import asyncio
import os
import tempfile
import uuid
from collections.abc import Callable, Sequence
from statistics import median

import uvloop
from celery import Celery
from redis import Redis

from infra.bench.jobs import POOL, submission
from infra.bench.processes import pin, two_shares
from infra.bench.report import Effort, Finding, Row, Stopwatch, Watch, in_turns, ratio_row
from infra.local import Stack
from shared.config import Settings
from shared.jobs import new_job_id
from shared.ledger.connect import connect_for_requests
from shared.ledger.receipts import Outcome
from shared.ledger.submissions import Submissions

CLIENTS = 32
BARE, ALONE, TOGETHER = "bare send_task", "submit, one at a time", f"submit, {CLIENTS} at a time"


def measure(effort: Effort, watch: Watch) -> Finding:
    """Requests per second on their way in, in turns; each is looked for afterwards."""
    ways: dict[str, Callable[[str, int], Stopwatch]] = {
        BARE: _send_tasks,
        ALONE: lambda url, count: _submit(url, count, clients=1),
        TOGETHER: lambda url, count: _submit(url, count, clients=CLIENTS),
    }
    rates: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(folder, port=0, processes=("redis",)) as stack,
        two_shares() as (own, others),
    ):
        pin(stack.processes["redis"].pid or 0, others)
        os.sched_setaffinity(0, own)
        for done, name in in_turns(ways, effort.door_rounds):
            watch(done, f"{effort.door} requests, {name}")
            stopped = ways[name](stack.redis_url, effort.door)
            rates[name].append(stopped.rates(effort.door))
    return Finding({"per_second": rates}, _rows(rates))


def _send_tasks(url: str, count: int) -> Stopwatch:
    """A loop over a default Celery app; its message carries an id, nothing else."""
    queue = uuid.uuid4().hex
    with Celery(broker=url, set_as_current=False) as celery, Redis.from_url(url) as redis:
        for _ in range(CLIENTS):  # not counted
            celery.send_task("generate", args=[str(new_job_id())], queue="warm-up")
        with Stopwatch() as watch:
            for _ in range(count):
                celery.send_task("generate", args=[str(new_job_id())], queue=queue)
        assert redis.llen(queue) == count, "a message is missing"
        redis.flushdb()
    return watch


def _submit(url: str, count: int, *, clients: int) -> Stopwatch:
    """The ledger, quota and idempotency key included, on the API's own event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_submit_all(url, count, clients))


async def _submit_all(url: str, count: int, clients: int) -> Stopwatch:
    async with connect_for_requests(url) as redis:
        submissions = Submissions(redis, Settings(redis_url=url))

        async def client(requests: Sequence[int]) -> None:
            for _ in requests:
                receipt = await submissions.submit(submission("bench"))
                assert receipt.outcome is Outcome.ACCEPTED, receipt

        async def everyone(requests: int) -> None:
            shares = (range(requests)[first::clients] for first in range(clients))
            await asyncio.gather(*(client(share) for share in shares))

        await everyone(CLIENTS)  # not counted
        with Stopwatch() as watch:
            await everyone(count)
        assert await redis.zcard(f"waiting:{POOL}") == count + CLIENTS, "a job is missing"
        await redis.flushdb()
    return watch


def _rows(rates: dict[str, list[dict[str, float]]]) -> list[Row]:
    wall, cpu = (
        {name: [rate[clock] for rate in rounds] for name, rounds in rates.items()}
        for clock in ("wall", "cpu")
    )
    return [
        *(
            Row(f"front door without HTTP, one core: {n}", f"{median(wall[n]):,.0f}/s")
            for n in rates
        ),
        ratio_row(f"  {ALONE} / {BARE}", wall[ALONE], wall[BARE]),
        ratio_row(f"  {TOGETHER} / {BARE}", wall[TOGETHER], wall[BARE], least=4),
        ratio_row(f"  {TOGETHER} / {BARE}, by CPU time", cpu[TOGETHER], cpu[BARE]),
    ]
