"""Wires the process: the only place where a GPU worker's parts are chosen."""

import logging
import os
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from celery import Celery, signals
from prometheus_client import start_http_server

from shared.add_ons import AddOns
from shared.egress import Guard
from shared.ledger.attempts import Attempts, WorkerRecord
from shared.ledger.connect import connect_for_work
from shared.ledger.orders import Inbox
from shared.models import Registry
from shared.object_store import ObjectStore
from shared.queue import make_celery, queue_name
from worker.gpu.checks import Checks
from worker.gpu.config import GpuSettings
from worker.gpu.decoder_pool import DecoderPool
from worker.gpu.engine import Engine
from worker.gpu.families import device_memory, load, load_text_model, pick_device
from worker.gpu.inputs import fetch_with
from worker.gpu.leases import Leases
from worker.gpu.orders import obey
from worker.gpu.pipelines import WarmPipelines
from worker.gpu.pool import gpu_pool
from worker.gpu.runner import JobRunner
from worker.gpu.tasks import register

log = logging.getLogger(__name__)

BEAT = timedelta(seconds=1)
"""Leases are renewed, progress noted and the device watched so often."""
SPARE_THREADS = 4
"""Above the slots: a job that fetches or uploads does not keep the engine waiting for the next."""
DEVICE_LOST = 70
"""Exit status for a device that answers no more: the supervisor starts a clean process."""


@dataclass(frozen=True, slots=True)
class GpuWorker:
    """The parts of one worker process, from the device up."""

    settings: GpuSettings
    engine: Engine
    attempts: Attempts
    leases: Leases
    decoders: DecoderPool
    celery: Celery
    registry: Registry
    pipelines: WarmPipelines
    inbox: Inbox
    checked: frozenset[str]
    """Ids of the models whose pictures it can check."""
    consumes: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Warm up, then consume until SIGTERM: nothing is taken from the queue before."""
        if self.settings.metrics_port:
            start_http_server(self.settings.metrics_port, self.settings.metrics_host)
        self.decoders.check()
        self.engine.start()
        self.leases.start(before_each=self.tick)
        signals.worker_ready.connect(self._ready, weak=False)
        signals.worker_shutting_down.connect(self._drain, weak=False)
        try:
            self.celery.worker_main(self._arguments())
        finally:
            # The pool has ended, so no thread waits for the engine any more.
            self.engine.stop()
            self.leases.stop()
            self.decoders.close()
            self.attempts.unregister(self.settings.worker_name)

    def _arguments(self) -> list[str]:
        queues = ",".join(queue_name(pool) for pool in sorted(self.settings.pool_names))
        threads = str(self.settings.slots + SPARE_THREADS)
        name = f"{self.settings.worker_name}@%h"
        # Workers have nothing to tell each other.
        alone = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        return [
            *("--quiet", "worker", "--queues", queues, "--concurrency", threads),
            *("--hostname", name, "--loglevel", self.settings.log_level, *alone),
        ]

    def _ready(self, **_: Any) -> None:
        self.consumes.set()
        self.beat()
        if self.settings.ready_file:
            self.settings.ready_file.write_text("ready\n")
        log.info("ready", extra={"worker": self.settings.worker_name})

    def _drain(self, **_: Any) -> None:
        # Celery takes no more jobs and waits for the running ones, however long they take.
        timer = threading.Timer(self.settings.drain.total_seconds(), self.leases.hand_all_back)
        timer.daemon = True
        timer.start()

    def tick(self) -> None:
        """What is done every second, from the first one on."""
        self.beat()
        # Before, the signal that drains would end the process on the spot.
        if self.consumes.is_set():
            for order in self.inbox.read():
                obey(order, self.inbox, self.pipelines)

    def beat(self) -> None:
        """Say that the worker lives, unless its device hangs: then it must not seem to."""
        stalled = self.engine.stalled_for
        if stalled > self.settings.stall_timeout.total_seconds():
            log.critical("the device hangs", extra={"seconds": round(stalled)})
            os._exit(DEVICE_LOST)
        record = WorkerRecord(
            name=self.settings.worker_name,
            pools=frozenset(self.settings.pool_names),
            slots=self.settings.slots,
            occupancy=self.engine.occupancy,
            steps=self.engine.steps,
            # Not the checkers, whose ids are paths.
            models=frozenset(filter(self.registry.get, self.pipelines.loaded)),
            checked=self.checked,
        )
        self.attempts.register(record, lifetime=10 * BEAT)


def create_worker(settings: GpuSettings) -> GpuWorker:
    """Everything a worker needs, loaded but not started."""
    # First, for they take a second to start.
    decoders = DecoderPool(settings.decoders, settings.decoder_limits)
    registry = Registry.read(settings.models_file, models_dir=settings.models_dir)
    store = ObjectStore.connect(settings)
    store.ensure_bucket()
    redis = connect_for_work(settings.redis_url)
    attempts = Attempts(redis, settings)
    device = pick_device()
    cards = registry.in_pools(settings.pool_names)
    checks = Checks.find(cards, registry.safety)
    pipelines = WarmPipelines(
        [*cards, *checks.cards],
        device,
        partial(load, image_cache=settings.image_cache),
        memory=device_memory(device, settings.vram_budget),
        first=settings.default_model,
    )
    engine = Engine(
        pipelines,
        buckets=settings.bucket_sizes,
        strict_bucket=settings.strict_bucket,
        on_device_lost=_exit,
    )
    leases = Leases(attempts, every=BEAT)
    runner = JobRunner(
        name=settings.worker_name,
        attempts=attempts,
        leases=leases,
        engine=engine,
        registry=registry,
        checks=checks,
        store=store,
        fetch=fetch_with(
            store,
            Guard.from_settings(settings),
            attempts=settings.max_attempts,
            limit_bytes=settings.image_bytes,
            seconds=settings.fetch_timeout.total_seconds(),
        ),
        decode=decoders.decode,
        timeout=settings.job_timeout,
        patience=settings.lease,
        retry_delay=settings.retry_delay,
        go_on=load_text_model(registry.enhancer) if registry.enhancer else None,
        embed_parameters=settings.embed_parameters,
        add_ons=AddOns.read(settings.models_file, models_dir=settings.models_dir),
    )
    celery = make_celery(settings.redis_url, settings.pool_names, drain=settings.drain)
    celery.conf.worker_pool = gpu_pool(leases.hand_back)
    register(celery, runner)
    return GpuWorker(
        settings=settings,
        engine=engine,
        attempts=attempts,
        leases=leases,
        decoders=decoders,
        celery=celery,
        registry=registry,
        pipelines=pipelines,
        inbox=Inbox(redis, settings.worker_name),
        checked=frozenset(checks.checkers),
    )


def _exit(reason: BaseException) -> None:
    log.critical("the device is lost", extra={"reason": str(reason)[:500]})
    os._exit(DEVICE_LOST)
