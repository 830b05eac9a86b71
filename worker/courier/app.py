"""Wires the process: a loop that delivers what is due, and a loop that reaps."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator
from datetime import timedelta

from redis.exceptions import RedisError

from shared.egress import Guard, Outbound
from shared.ledger.connect import connect_for_requests
from shared.ledger.deliveries import Deliveries, Delivery
from shared.ledger.events import end, finished
from shared.ledger.reaper import Reaped, Reaper
from shared.object_store import ObjectStore
from shared.tenants import Tenants
from worker.courier.config import CourierSettings
from worker.courier.delivery import Courier

log = logging.getLogger(__name__)

REAPS_PER_LEASE = 8
"""A gap of half a lease counts as an outage, so rounds must be well within that."""


class DeliveryLoop:
    """Takes webhooks that are due, as many as there is room for."""

    def __init__(self, courier: Courier, deliveries: Deliveries, settings: CourierSettings) -> None:
        self._courier = courier
        self._deliveries = deliveries
        self._settings = settings
        # Longer than an attempt can take: it comes back only when this courier died with it.
        self._lease = settings.webhook_timeout + timedelta(seconds=15)
        self._wake = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

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
        room = self._settings.deliveries - len(self._under_way)
        try:
            due = await self._deliveries.claim(room, lease=self._lease) if room else []
        except RedisError as error:
            log.warning("waiting for Redis", extra={"error": type(error).__name__})
            return False
        for delivery in due:
            task = asyncio.create_task(self._deliver(delivery))
            self._under_way.add(task)
            task.add_done_callback(self._ended)
        return bool(due)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._wake.set()

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            await self._courier.deliver(delivery)
        except Exception:
            # Unsettled, it comes back when its lease ends.
            log.exception("delivery failed", extra={"job_id": delivery.record.job.id})

    async def _pause(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), self._settings.poll.total_seconds())
        except TimeoutError:
            return

    async def drain(self) -> None:
        """Finish the deliveries under way."""
        await asyncio.gather(*self._under_way)


async def reap_for_ever(reaper: Reaper, *, lease: timedelta) -> None:
    """Rounds without end, `REAPS_PER_LEASE` of them in a lease."""
    while True:
        try:
            reaped = await reaper.reap()
        except RedisError as error:
            log.warning("waiting for Redis", extra={"error": type(error).__name__})
        else:
            if reaped != Reaped(0, 0, 0):
                log.info("brought back", extra={"reaped": str(reaped)})
        await asyncio.sleep(lease.total_seconds() / REAPS_PER_LEASE)


async def run(settings: CourierSettings) -> None:
    """Deliver and reap until SIGTERM or SIGINT, then finish what is under way."""
    redis = connect_for_requests(settings.redis_url)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with redis, Outbound(Guard.from_settings(settings)) as outbound:
        deliveries = Deliveries(redis, settings)
        courier = Courier(
            deliveries=deliveries,
            outbound=outbound,
            tenants=Tenants.read(settings),
            links=ObjectStore.connect(settings).links,
            settings=settings,
        )
        loop = DeliveryLoop(courier, deliveries, settings)
        reaping = reap_for_ever(Reaper(redis, settings), lease=settings.lease)
        work = (loop.run(), loop.listen(finished(redis)), reaping)
        tasks = [asyncio.create_task(part) for part in work]
        if settings.ready_file:
            settings.ready_file.write_text("ready\n")
        log.info("ready")
        stopped = asyncio.create_task(stop.wait())
        # A part that ends by itself failed, and the courier with it: its supervisor restarts it.
        done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
        await end([*tasks, stopped])
        await loop.drain()
        for task in done - {stopped}:
            task.result()
