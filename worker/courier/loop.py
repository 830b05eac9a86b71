"""Takes what is due, tries what the gate lets through and puts off the rest."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import timedelta

from redis.exceptions import RedisError

from shared.ledger.deliveries import Deliveries, Delivery
from shared.ledger.events import end
from worker.courier.config import CourierSettings
from worker.courier.delivery import Courier
from worker.courier.gate import PROMPT, Gate

log = logging.getLogger(__name__)


class DeliveryLoop:
    """Takes webhooks that are due, as many as there is room for."""

    def __init__(
        self, courier: Courier, deliveries: Deliveries, gate: Gate, settings: CourierSettings
    ) -> None:
        self._courier = courier
        self._deliveries = deliveries
        self._gate = gate
        self._settings = settings
        # Longer than an attempt can take: it comes back only when this courier died with it.
        self._lease = settings.webhook_timeout + timedelta(seconds=15)
        self._wake = asyncio.Event()
        self._wants_room = False
        """More may be due than there was room for."""
        self._under_way: dict[asyncio.Task[None], Delivery] = {}

    async def listen(self, events: AsyncIterator[int]) -> None:
        """A job that ends may have a webhook: look at once instead of at the next poll."""
        async for _ in events:
            self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._wake.clear()
            if not await self._start_due():
                await self._pause()

    async def _start_due(self) -> bool:
        """Whether more may be due that there is room for."""
        room, self._wants_room = self._gate.room, True
        try:
            due = await self._deliveries.claim(room, lease=self._lease) if room else []
            await self._put_off([(one, wait) for one in due if (wait := self._start(one))])
        except RedisError as error:
            log.warning("waiting for Redis", extra={"error": type(error).__name__})
            return False
        self._wants_room = len(due) >= room
        return bool(due) and self._wants_room

    def _start(self, delivery: Delivery) -> float:
        """0 when it is under way; else the seconds to put it off."""
        wait = self._gate.enter(delivery.record.job)
        if not wait:
            task = asyncio.create_task(self._deliver(delivery))
            self._under_way[task] = delivery
            task.add_done_callback(self._ended)
            # Then it gives its place back, under way or not.
            asyncio.get_running_loop().call_later(PROMPT, self._make_room)
        return wait

    async def _put_off(self, waits: list[tuple[Delivery, float]]) -> None:
        await self._courier.put_off(waits)
        for _, wait in waits:
            if wait < self._settings.poll.total_seconds():
                asyncio.get_running_loop().call_later(wait, self._wake.set)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        self._make_room()

    def _make_room(self) -> None:
        if self._wants_room:
            self._wake.set()

    async def _deliver(self, delivery: Delivery) -> None:
        started, well = time.monotonic(), None
        try:
            well = await self._courier.deliver(delivery)
        except Exception:
            # Unsettled, it comes back when its lease ends.
            log.exception("delivery failed", extra={"job_id": delivery.record.job.id})
        finally:
            self._gate.leave(delivery.record.job, time.monotonic() - started, well=well)

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), self._settings.poll.total_seconds())
        except TimeoutError:
            return

    async def drain(self) -> None:
        """Finish the deliveries under way while there is time, and put the others back."""
        if not (under_way := dict(self._under_way)):
            return
        _, late = await asyncio.wait(under_way, timeout=self._settings.drain.total_seconds())
        await end(late)
        try:
            await self._deliveries.put_off((under_way[task], 0.0) for task in late)
        except RedisError as error:  # they come back when their leases end
            log.warning("not put back", extra={"error": type(error).__name__})
