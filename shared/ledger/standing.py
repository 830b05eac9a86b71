"""How the deployment stands: what an alarm, or an autoscaler, goes by."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits in a pool."""

    waiting: int
    """Jobs, but for those that wait for another try."""
    seconds: float
    """Since the first of them was accepted; 0 when none waits."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Of all pools, at one moment."""

    queues: Mapping[str, Queue]
    running: int
    overdue: int
    """Of them, with a lease that has ended: the reaper has them next, if one is at work."""
    workers: int
    """Alive."""
    dead: int
    """Jobs and webhooks that were given up, as far back as they are kept."""


async def standing(redis: Redis) -> Standing:
    """By the ledger's clock."""
    pools: list[Any] = sorted(await redis.smembers("pools"))
    seconds, microseconds = await redis.time()
    now = seconds + microseconds / 1e6
    async with redis.pipeline(transaction=False) as pipe:
        pipe.zcard("leases")
        pipe.zcount("leases", "-inf", now * 1000)
        pipe.zcount("workers", now, "+inf")
        pipe.xlen("dead")
        for pool in pools:
            pipe.zcard(f"waiting:{pool}")
            pipe.zrange(f"waiting:{pool}", 0, 0, withscores=True)
        running, overdue, workers, dead, *rest = await pipe.execute()
    lengths_and_firsts = zip(pools, rest[::2], rest[1::2], strict=True)
    queues = {pool: _queue(length, first, now) for pool, length, first in lengths_and_firsts}
    return Standing(queues, running, overdue, workers, dead)


def _queue(length: int, first: list[Any], now: float) -> Queue:
    return Queue(length, max(0.0, now - first[0][1] / 1000) if first else 0.0)
