"""What a job, and each look at the queue, costs Redis while ever more others wait.

Each depth is a database of one server, so that all are measured in turns.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import timedelta
from statistics import median
from typing import Any

import uvloop
from redis.asyncio import Redis

from infra.bench.jobs import POOL
from infra.bench.line import JOB, LOAD, WAYS, Line, open_line
from infra.bench.report import Effort, Row, Watch, in_turns
from infra.local import Stack
from shared.ledger.attempts import WorkerRecord

TENANTS = 10
WORKERS = (1, 100)
"""Who live while the load of their pool is asked for."""
CLIENTS = 32
"""Who fill a queue at a time."""
FORGETS = 1.0
"""Seconds in which the server gives back what ended connections took."""
FLAT = 1.1
"""Times what the shortest queue costs, at most."""


@dataclass(frozen=True)
class Cost:
    """Of one job, or one look."""

    commands: float
    """Those inside scripts too."""
    microseconds: float
    """Of the server's main thread on a core."""


Costs = dict[str, dict[int, Cost]]
"""Of each way, in each depth."""


def measure(effort: Effort, watch: Watch) -> tuple[dict[str, Any], list[Row]]:
    """Fill the queues, then serve each a little, in turns."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(folder, port=0, processes=("redis",)) as stack,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        sizes, costs = runner.run(_measure(stack.redis_url, effort, watch))
        fleets = runner.run(_with_workers(stack.redis_url, effort))
    kept = {
        way: {depth: asdict(cost) for depth, cost in by_depth.items()}
        for way, by_depth in costs.items()
    }
    loads = {workers: asdict(cost) for workers, cost in fleets.items()}
    results = {"bytes_per_job": sizes, "costs": kept, "load_by_workers": loads}
    return results, [*rows(sizes, costs), _workers_row(fleets)]


async def _measure(url: str, effort: Effort, watch: Watch) -> tuple[dict[int, float], Costs]:
    sizes: dict[int, float] = {}
    async with AsyncExitStack() as exits:
        lines = {
            depth: await exits.enter_async_context(open_line(url, database))
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
        for done, depth in in_turns(lines, effort.depth_rounds):
            watch((1 + done) / 2, f"{effort.depth_jobs} jobs each way")
            for way, walk in WAYS.items():
                every[way][depth].append(await _cost(lines[depth], walk, effort.depth_jobs))
    return sizes, {
        way: {depth: _middle(costs) for depth, costs in by_depth.items()}
        for way, by_depth in every.items()
    }


async def _with_workers(url: str, effort: Effort) -> dict[int, Cost]:
    """What the load costs, by the number of workers that live."""
    costs = {}
    async with open_line(url, len(effort.depths)) as line:
        for workers in WORKERS:
            for number in range(workers):
                record = WorkerRecord(f"worker-{number}", frozenset({POOL}), 16, 1.0, 1)
                line.attempts.register(record, lifetime=timedelta(hours=1))
            costs[workers] = await _cost(line, WAYS[LOAD], effort.depth_jobs)
    return costs


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
            f"Redis, {most:,} waiting jobs / {least:,}: bytes of one",
            sizes[most] / sizes[least],
            f"{sizes[most]:,.0f}",
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


def _workers_row(fleets: Mapping[int, Cost]) -> Row:
    few, many = fleets
    ratio = fleets[many].commands / fleets[few].commands
    said = f"{ratio:.2f}x ({fleets[many].commands:.0f}, {fleets[many].microseconds:.0f} us)"
    return Row(f"  commands of {LOAD}, {many} workers / {few}", said)
