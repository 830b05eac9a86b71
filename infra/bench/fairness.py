"""A tenant that floods the queue beside two small ones, and the same jobs of one tenant alone.

The real ledger and the real workers, on devices that only take time; one tenant alone is what a
single queue would do, first come, first served.
"""

import asyncio
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from redis.asyncio import Redis

from infra.bench.report import Effort, Finding, Row, Watch, ratio_row
from infra.local import Stack
from shared.config import Settings
from shared.jobs import Job, Params, new_job_id
from shared.ledger.connect import connect_for_requests
from shared.ledger.receipts import Submission
from shared.ledger.submissions import Submissions

POOL = "default"
SMALL = 20
"""Jobs of each of the two that come behind the flood."""
UNLIMITED = 10**9
LOOK_SECONDS = 0.05
CLIENTS = 32
"""Who submit at a time, so that the whole flood is there soon."""
FAIR, FIFO = "tenants take turns", "one tenant"
TENANTS: Mapping[str, tuple[str, str, str]] = {
    FAIR: ("flood", "small-1", "small-2"),
    FIFO: ("everyone",) * 3,
}
DEVICE = {"IMG2IMG_STEP_TIME": "0.005"}
PARAMS = Params(
    model_id="demo",
    prompt="a lighthouse",
    width=64,
    height=64,
    steps=2,
    strength=1.0,
    guidance_scale=7.5,
    scheduler="DDIMScheduler",
    seeds=(42,),
)


@dataclass(frozen=True)
class Run:
    """What came of one flood."""

    waits: dict[str, list[float]]
    """Seconds from being accepted to being claimed, of each tenant's jobs, by its place in line."""
    seconds: float
    """From the first to be accepted to the last to end."""


def measure(effort: Effort, watch: Watch) -> Finding:
    """Both ways in turns, on one stack."""
    runs: dict[str, list[Run]] = {name: [] for name in TENANTS}
    processes = ("redis", "s3", "simulated", "simulated-2", "courier")
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(folder, port=0, env=DEVICE, processes=processes) as stack,
        asyncio.Runner() as runner,
    ):
        runner.run(_flood(stack.redis_url, TENANTS[FIFO], 2 * SMALL))  # not counted
        for turn in range(effort.flood_rounds):
            for name in [*TENANTS][:: -1 if turn % 2 else 1]:
                watch(turn / effort.flood_rounds, f"{effort.flood} jobs, {name}")
                runs[name].append(runner.run(_flood(stack.redis_url, TENANTS[name], effort.flood)))
    return Finding(_results(runs), _rows(runs))


async def _flood(url: str, tenants: Sequence[str], count: int) -> Run:
    line = [("flood", tenants[0])] * count
    line += [("small-1", tenants[1]), ("small-2", tenants[2])] * SMALL
    async with connect_for_requests(url) as redis:
        submissions = Submissions(redis, Settings(redis_url=url))
        jobs: dict[str, list[int]] = {}
        for first in range(0, len(line), CLIENTS):
            several = [(name, _submission(tenant)) for name, tenant in line[first:][:CLIENTS]]
            await asyncio.gather(*(submissions.submit(one) for _, one in several))
            for name, one in several:
                jobs.setdefault(name, []).append(one.job.id)
        # Workers in other processes empty it.
        while await redis.exists(f"waiting:{POOL}", "leases"):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_SECONDS)
        times = {name: await _times(redis, ids) for name, ids in jobs.items()}
        await redis.flushdb()
    every = [one for of_tenant in times.values() for one in of_tenant]
    seconds = max(end for _, _, end in every) - min(begin for begin, _, _ in every)
    waits = {
        name: [start - begin for begin, start, _ in of_tenant] for name, of_tenant in times.items()
    }
    return Run(waits, seconds)


async def _times(redis: Redis, ids: Sequence[int]) -> list[tuple[float, float, float]]:
    """When each was accepted, claimed and done, in seconds; raises ValueError if one failed."""
    async with redis.pipeline(transaction=False) as pipe:
        for job_id in ids:
            pipe.hmget(f"job:{job_id}", "state", "created", "started", "finished")
        records: list[Any] = await pipe.execute()
    if failed := [record for record in records if record[0] != "succeeded"]:
        raise ValueError(f"{len(failed)} jobs did not succeed, the first is {failed[0]}")
    return [tuple(int(moment) / 1000 for moment in record[1:]) for record in records]


def _submission(tenant: str) -> Submission:
    prefix = str(uuid.uuid4())
    job = Job(
        id=new_job_id(), file_prefix=prefix, tenant=tenant, pool=POOL, dialect="v3", params=PARAMS
    )
    return Submission(job, weight=1, most_live=UNLIMITED, most_waiting=UNLIMITED)


def _small(run: Run) -> float:
    """The median wait of the two small tenants."""
    return median(run.waits["small-1"] + run.waits["small-2"])


def _results(runs: dict[str, list[Run]]) -> dict[str, Any]:
    return {
        name: [
            {
                "seconds": run.seconds,
                "per_second": sum(map(len, run.waits.values())) / run.seconds,
                "median_wait": {who: median(waits) for who, waits in run.waits.items()},
                "longest_wait": {who: max(waits) for who, waits in run.waits.items()},
            }
            for run in rounds
        ]
        for name, rounds in runs.items()
    }


def _rows(runs: dict[str, list[Run]]) -> list[Row]:
    count = len(runs[FAIR][0].waits["flood"])
    waits = {name: median(map(_small, rounds)) for name, rounds in runs.items()}
    what = f"{SMALL} jobs behind a flood of {count:,}, median wait"
    return [
        Row(f"{what}: {FIFO}", f"{waits[FIFO]:.2f} s"),
        Row(f"{what}: {FAIR}", f"{waits[FAIR]:.2f} s", "at most 1 s", waits[FAIR] <= 1),
        ratio_row(
            f"  all jobs a second: {FAIR} / {FIFO}",
            [1 / run.seconds for run in runs[FAIR]],
            [1 / run.seconds for run in runs[FIFO]],
            least=0.95,
        ),
    ]
