"""One job from its id to stored images, in one straight line."""

import base64
import logging
import time
import uuid
from concurrent.futures import CancelledError
from dataclasses import dataclass
from datetime import timedelta

from shared.errors import InternalError, JobError, TimedOut
from shared.jobs import Failure, Result
from shared.ledger.attempts import Attempt, Attempts
from shared.models import Registry
from shared.object_store import ObjectStore, output_key
from worker.gpu.engine import Engine, EngineStopped
from worker.gpu.images import encode_png
from worker.gpu.inputs import Fetch, Inputs, prepare
from worker.gpu.leases import STOPPED, Held, Leases
from worker.gpu.metrics import ATTEMPTS, JOB_SECONDS
from worker.gpu.samples import Sample

log = logging.getLogger(__name__)

UNEXPECTED = Failure.of(InternalError("Failed, Try Again"))
CHARGED = {"queued": "retried", "failed": "failed", "stale": "lost"}
"""What the ledger made of an attempt that broke down, as it is counted."""


@dataclass(frozen=True, slots=True)
class JobRunner:
    """Runs jobs; any number of threads at a time."""

    name: str
    attempts: Attempts
    leases: Leases
    engine: Engine
    registry: Registry
    store: ObjectStore
    fetch: Fetch
    timeout: timedelta
    retry_delay: timedelta

    def run(self, job_id: str, generation: str) -> None:
        """Run the job, if the ledger still wants it run. Whatever happens, the ledger knows."""
        owner = f"{self.name}:{uuid.uuid4().hex}"
        attempt = self.attempts.claim(job_id, generation, owner)
        if attempt is None:
            ATTEMPTS.labels("stale").inc()
            return
        with self.leases.hold(attempt) as held:
            ATTEMPTS.labels(self._settle(attempt, held)).inc()

    def _settle(self, attempt: Attempt, held: Held) -> str:
        """Run the attempt and tell the ledger what came of it, and the caller in one word."""
        ids = {"job_id": attempt.job.id, "attempt": attempt.number}
        try:
            result = self._make(attempt, held)
        except (CancelledError, EngineStopped):
            if not held.dropped:
                self.attempts.hand_back(attempt, charged=False, failure=STOPPED)
            return "handed_back"
        except JobError as error:
            log.info("job failed", extra=ids | {"code": error.code})
            return "failed" if self.attempts.fail(attempt, Failure.of(error)) else "lost"
        except Exception:
            log.exception("attempt failed", extra=ids)
            delay = self.retry_delay * attempt.number
            answer = self.attempts.hand_back(attempt, charged=True, delay=delay, failure=UNEXPECTED)
            return CHARGED[answer]
        log.info("job finished", extra=ids | {"seconds": result.seconds})
        JOB_SECONDS.observe(result.seconds)
        return "succeeded" if self.attempts.succeed(attempt, result) else "lost"

    def _make(self, attempt: Attempt, held: Held) -> Result:
        started = time.monotonic()
        job, params = attempt.job, attempt.job.params
        card = self.registry.get(params.model_id)
        if card is None:
            raise InternalError(f"This deployment no longer has the model {params.model_id!a}")
        inputs = prepare(params, card.limits, self.fetch)
        held.samples = samples = _samples(attempt, inputs, distilled=card.distilled)
        if held.dropped:
            raise CancelledError
        self.engine.submit(samples, timeout=self.timeout.total_seconds())
        prefix = job.attempt_prefix(attempt.generation)
        deadline = started + self.timeout.total_seconds()
        try:
            keys = [
                self._store(sample, prefix, index, deadline, as_base64=params.base64)
                for index, sample in enumerate(samples)
            ]
        finally:
            # When one fails or is late, nobody waits for the rest: the device is for other jobs.
            held.let_go()
        height, width, _ = inputs.image.shape
        return Result(
            keys=tuple(keys),
            file_prefix=prefix,
            width=width,
            height=height,
            scheduler=samples[0].done.result().scheduler or params.scheduler,
            seconds=round(time.monotonic() - started, 3),
        )

    def _store(
        self, sample: Sample, prefix: str, index: int, deadline: float, *, as_base64: bool
    ) -> str:
        """Wait for a sample and upload it; the key it has."""
        try:
            picture = sample.done.result(max(0, deadline - time.monotonic()))
        except TimeoutError:
            raise TimedOut(f"Not finished within {self.timeout.total_seconds():.0f} s") from None
        png = encode_png(picture.pixels)
        key = output_key(prefix, index, "base64" if as_base64 else "png")
        if as_base64:
            self.store.put(key, base64.b64encode(png), "text/plain")
        else:
            self.store.put(key, png, "image/png")
        return key


def _samples(attempt: Attempt, inputs: Inputs, *, distilled: bool) -> list[Sample]:
    params = attempt.job.params
    height, width, _ = inputs.image.shape
    return [
        Sample(
            job_id=attempt.job.id,
            model_id=params.model_id,
            prompt=params.prompt,
            negative_prompt=params.negative_prompt,
            image=inputs.image,
            mask=inputs.mask,
            height=height,
            width=width,
            steps=params.steps,
            strength=params.strength,
            guidance_scale=params.guidance_scale,
            scheduler=params.scheduler,
            scheduler_options=params.scheduler_options,
            clip_skip=params.clip_skip,
            seed=seed,
            # An earlier attempt of it may have ended its worker: let it not take others along.
            alone=attempt.number > 1,
            distilled=distilled,
        )
        for seed in params.seeds
    ]
