"""Wires the process: a loop that delivers what is due, and a loop that reaps."""

import asyncio
import logging
import signal
from datetime import timedelta

from prometheus_client import start_http_server
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.egress import Guard, Outbound
from shared.ledger.connect import connect_for_requests
from shared.ledger.deliveries import Deliveries
from shared.ledger.events import end, finished
from shared.ledger.reaper import Reaped, Reaper
from shared.ledger.standing import Standing, standing
from shared.object_store import ObjectStore
from shared.tenants import Tenants
from worker.courier.config import CourierSettings
from worker.courier.delivery import Courier
from worker.courier.gate import Gate
from worker.courier.loop import DeliveryLoop
from worker.courier.metrics import (
    BACKLOG_SECONDS,
    DEAD_LETTERS,
    JOBS_RUNNING,
    JOBS_WAITING,
    JOBS_WAITING_SECONDS,
    LEASES_OVERDUE,
    OPEN_BREAKERS,
    WAITING,
    WORKERS,
)
from worker.courier.sweep import Sweep, sweep_for_ever

log = logging.getLogger(__name__)

REAPS_PER_LEASE = 8
"""A gap of half a lease counts as an outage, so rounds must be well within that."""
WATCH_SECONDS = 1


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


async def watch_for_ever(redis: Redis, deliveries: Deliveries, gate: Gate) -> None:
    """Note what waits, every second."""
    while True:
        try:
            backlog, now = await deliveries.backlog(), await standing(redis)
        except RedisError:
            pass  # the others say so
        else:
            WAITING.set(backlog.waiting)
            BACKLOG_SECONDS.set(backlog.seconds)
            _show(now)
        OPEN_BREAKERS.set(gate.open_breakers)
        await asyncio.sleep(WATCH_SECONDS)


def _show(now: Standing) -> None:
    for pool, queue in now.queues.items():
        JOBS_WAITING.labels(pool).set(queue.waiting)
        JOBS_WAITING_SECONDS.labels(pool).set(queue.seconds)
    JOBS_RUNNING.set(now.running)
    LEASES_OVERDUE.set(now.overdue)
    WORKERS.set(now.workers)
    DEAD_LETTERS.set(now.dead)


async def run(settings: CourierSettings) -> None:
    """Deliver and reap until SIGTERM or SIGINT, then finish what is under way."""
    redis = connect_for_requests(settings.redis_url)
    if settings.courier_metrics_port:
        start_http_server(settings.courier_metrics_port, settings.metrics_host)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with redis, Outbound(Guard.from_settings(settings)) as outbound:
        deliveries = Deliveries(redis, settings)
        store = ObjectStore.connect(settings, read_seconds=5)
        courier = Courier(
            deliveries=deliveries,
            outbound=outbound,
            tenants=Tenants.read(settings),
            links=store.links,
            settings=settings,
        )
        gate = Gate(settings)
        loop = DeliveryLoop(courier, deliveries, gate, settings)
        reaping = reap_for_ever(Reaper(redis, settings), lease=settings.lease)
        watching = watch_for_ever(redis, deliveries, gate)
        work = [loop.run(), loop.listen(finished(redis)), reaping, watching]
        if settings.sweep:
            work.append(sweep_for_ever(Sweep(redis, store, settings), every=settings.sweep))
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
