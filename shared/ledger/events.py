"""Jobs that end, as it happens."""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

log = logging.getLogger(__name__)

RECONNECT_SECONDS = 0.5
ASK_AGAIN_SECONDS = 0.1


async def finished(redis: Redis) -> AsyncIterator[int]:
    """The ids of jobs that end, for ever; subscribes again whenever the connection is lost.

    A hint: what ends while nobody listens is not told, so the record has the last word.
    """
    while True:
        try:
            async with redis.pubsub(ignore_subscribe_messages=True) as events:
                await events.subscribe("finished")
                async for message in events.listen():
                    yield int(message["data"])
        except RedisError as error:
            log.warning("waiting for Redis", extra={"error": type(error).__name__})
            await asyncio.sleep(RECONNECT_SECONDS)


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended, whichever way.

    redis-py can swallow a cancellation while it connects, so each is asked until it hears.
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=ASK_AGAIN_SECONDS)
