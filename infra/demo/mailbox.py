"""Webhooks as they come, for customers who wait for many at a time."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from infra.demo.receiver import Delivery, Receiver
from shared.ledger.events import end

LOOK_SECONDS = 0.2


class Mailbox:
    """What a receiver took, by the `track_id` that it carries."""

    def __init__(self, receiver: Receiver) -> None:
        self.deliveries: defaultdict[str, list[Delivery]] = defaultdict(list)
        """In the order in which they came."""
        self._receiver = receiver
        self._news = asyncio.Condition()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Within it, what comes is sorted."""
        sorting = asyncio.create_task(self._sort())
        try:
            yield
        finally:
            await end([sorting])

    async def first(self, track_id: str, *, seconds: float) -> dict[str, Any]:
        """The body of the first webhook; raises TimeoutError when none comes in time."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: self.deliveries[track_id])
        body: dict[str, Any] = json.loads(self.deliveries[track_id][0].body)
        return body

    def forget(self, track_id: str) -> None:
        """What came of it is of no interest any more."""
        self.deliveries.pop(track_id, None)

    async def _sort(self) -> None:
        while True:
            delivery = await asyncio.to_thread(self._receiver.next_delivery, timeout=LOOK_SECONDS)
            if delivery:
                async with self._news:
                    self.deliveries[json.loads(delivery.body)["track_id"]].append(delivery)
                    self._news.notify_all()
