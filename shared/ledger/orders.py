"""What an operator orders the GPU workers to do; each looks for it once a second and answers."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, cast

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

What = Literal["drain", "load", "forget"]
"""End and be started anew; load a model; forget what is kept of prompts and images."""

KEPT = 1000
ANSWERS_KEPT = timedelta(hours=1)
LOOK_AGAIN = 0.1
"""Seconds between looks at the answers."""


@dataclass(frozen=True, slots=True)
class Order:
    """One order; every worker that lives reads it."""

    id: str
    what: What
    model_id: str = ""


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """What a worker last said of itself."""

    name: str
    pools: frozenset[str]
    models: frozenset[str]
    """Ids of those in its memory."""
    checked: frozenset[str]
    """Ids of those whose pictures it can check."""


class Orders:
    """The front door's side."""

    def __init__(self, redis: AsyncRedis) -> None:
        self._redis = redis

    async def workers(self) -> list[LiveWorker]:
        """Those that live."""
        names = cast("list[str]", await self._redis.zrange("workers", 0, -1))
        async with self._redis.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.hgetall(f"worker:{name}")
            found = await pipe.execute()
        return [_worker(name, fields) for name, fields in zip(names, found, strict=True) if fields]

    async def give(
        self, what: What, to: Iterable[LiveWorker], *, model_id: str = "", patience: float
    ) -> list[str]:
        """Order it, and wait so many seconds for answers; the names of workers that gave none."""
        fields: Any = {"what": what, "model_id": model_id}
        order_id = cast("str", await self._redis.xadd("orders", fields, maxlen=KEPT))
        silent = {worker.name for worker in to}
        for _ in range(1 + round(patience / LOOK_AGAIN)):
            silent -= set(await self._redis.hkeys(f"order:{order_id}"))
            if not silent:
                break
            await asyncio.sleep(LOOK_AGAIN)
        return sorted(silent)


class Inbox:
    """A GPU worker's side: orders that are younger than it."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self._name = name
        newest: Any = redis.xrevrange("orders", count=1)
        self._last = newest[0][0] if newest else "0-0"

    def read(self) -> list[Order]:
        """What came since the last call."""
        entries: Any = self._redis.xrange("orders", min=f"({self._last}")
        if entries:
            self._last = entries[-1][0]
        return [Order(order_id, **fields) for order_id, fields in entries]

    def answer(self, order: Order, answer: str) -> None:
        """Say what came of it so far."""
        key = f"order:{order.id}"
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hset(key, self._name, answer)
            pipe.expire(key, ANSWERS_KEPT)
            pipe.execute()


def _worker(name: str, fields: dict[str, str]) -> LiveWorker:
    def listed(field: str) -> frozenset[str]:
        return frozenset(filter(None, fields.get(field, "").split(",")))

    return LiveWorker(name, listed("pools"), listed("models"), listed("checked"))
