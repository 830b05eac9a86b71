"""One job from its id to stored images, in one straight line."""

import base64
import logging
import time
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from redis.exceptions import RedisError

from shared.add_ons import AddOns
from shared.errors import InternalError, JobError, TimedOut
from shared.images import CONTENT_TYPES
from shared.jobs import Cover, Failure, Job, Params, Result
from shared.ledger.attempts import Attempt, Attempts
from shared.models import Registry
from shared.object_store import ObjectStore, output_keys
from worker.gpu.censor import censor
from worker.gpu.checks import Checks, check, check_of
from worker.gpu.encoding import encode
from worker.gpu.engine import Engine, EngineStopped
from worker.gpu.families import GoOn
from worker.gpu.infotext import infotext
from worker.gpu.inputs import Decode, Fetch, Inputs, picture, prepare
from worker.gpu.leases import STOPPED, Held, Leases
from worker.gpu.metrics import ATTEMPTS, FLAGGED, JOB_SECONDS
from worker.gpu.samples import Picture, Sample, WeightedLora
from worker.gpu.stages import Stages
from worker.gpu.turns import NoTurn, Turns
from worker.gpu.wording import worded

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
    checks: Checks
    store: ObjectStore
    fetch: Fetch
    decode: Decode
    timeout: timedelta
    patience: timedelta
    """For the end of a job that must be alone: others may be idle meanwhile."""
    retry_delay: timedelta
    add_ons: AddOns = field(default_factory=AddOns)
    go_on: GoOn | None = None
    """Finds more words for a prompt, where this worker has a text model."""
    embed_parameters: bool = True
    turns: Turns = field(default_factory=Turns)

    def run(self, job_id: str, generation: str) -> None:
        """Run the job, if the ledger still wants it run. Whatever happens, the ledger knows."""
        owner, stages = f"{self.name}:{uuid.uuid4().hex}", Stages()
        attempt = self.attempts.claim(job_id, generation, owner)
        if attempt is None:
            ATTEMPTS.labels("stale").inc()
            return
        stages.end("claim")
        with self.leases.hold(attempt) as held:
            ATTEMPTS.labels(self._settle(attempt, held, stages)).inc()

    def _settle(self, attempt: Attempt, held: Held, stages: Stages) -> str:
        """Run the attempt and tell the ledger what came of it, and the caller in one word."""
        ids = {"job_id": attempt.job.id, "attempt": attempt.number}
        try:
            work = self._check if attempt.job.params.task == "check" else self._make
            with self._turn(attempt, held):
                result = work(attempt, held, stages)
        except (CancelledError, EngineStopped, NoTurn) as error:
            if not held.dropped:
                # Not at once to the one who had no turn for it.
                delay = self.retry_delay if isinstance(error, NoTurn) else timedelta(0)
                self.attempts.hand_back(attempt, charged=False, delay=delay, failure=STOPPED)
            return "handed_back"
        except JobError as error:
            log.info("job failed", extra=ids | {"code": error.code})
            return "failed" if self.attempts.fail(attempt, Failure.of(error)) else "lost"
        except Exception:
            log.exception("attempt failed", extra=ids)
            delay = self.retry_delay * attempt.number
            answer = self.attempts.hand_back(attempt, charged=True, delay=delay, failure=UNEXPECTED)
            return CHARGED[answer]
        if not self.attempts.succeed(attempt, result):
            return "lost"
        stages.end("finish")
        JOB_SECONDS.observe(result.seconds)
        took = {"seconds": result.seconds, "milliseconds": stages.observe()}
        log.info("job finished", extra=ids | took)
        return "succeeded"

    @contextmanager
    def _turn(self, attempt: Attempt, held: Held) -> Iterator[None]:
        """The time in which the attempt may be worked at.

        A job that may have ended a worker is alone from its first byte to its last, and who waits
        meanwhile is set aside: should this worker end too, nobody else is blamed for it. It waits
        for those who are at work as long as they may take, or a busy worker would never have it.
        """
        held.wake = self.turns.look_again
        with self.turns.take(
            alone=attempt.suspect,
            before_waiting=lambda: self._set_aside(attempt, waits=True),
            given_up=lambda: held.dropped,
            seconds=(self.timeout if attempt.suspect else self.patience).total_seconds(),
        ) as waited:
            if waited and not self._set_aside(attempt, waits=False):
                held.drop()
            if held.dropped:
                raise CancelledError
            yield

    def _set_aside(self, attempt: Attempt, *, waits: bool) -> bool:
        try:
            return self.attempts.set_aside(attempt, waits=waits)
        except RedisError as error:
            raise NoTurn from error

    def _make(self, attempt: Attempt, held: Held, stages: Stages) -> Result:
        started = time.monotonic()
        deadline = started + self.timeout.total_seconds()
        asked = attempt.job.params.prompt
        job, degraded = worded(attempt.job, self.go_on)
        attempt, params = replace(attempt, job=job), job.params
        card = self.registry.get(params.model_id)
        if card is None:
            raise InternalError(f"This deployment no longer has the model {params.model_id!a}")
        inputs = prepare(params, card.limits, *self._intake(stages))
        added = _added(params, self.add_ons)
        held.samples = samples = _samples(attempt, inputs, added, distilled=card.distilled)
        if held.dropped:
            raise CancelledError
        self.engine.submit(samples, timeout=deadline - time.monotonic())
        stages.end("submit")
        keys = output_keys(job, attempt.generation)
        try:
            verdicts = []
            for index, picture in enumerate(self._pictures(attempt, held, deadline)):
                stages.end("wait", samples[index].began)
                stages.end("steps", samples[index].painted)
                stages.end("develop")
                self._store(keys[index], picture, job, params.seeds[index], stages)
                verdicts.append(picture.unsafe)
        finally:
            # When one fails or is late, nobody waits for the rest: the device is for other jobs.
            held.let_go()
        return Result(
            keys=tuple(keys),
            file_prefix=job.attempt_prefix(attempt.generation),
            width=inputs.width,
            height=inputs.height,
            scheduler=samples[0].done.result().scheduler or params.scheduler,
            unsafe=tuple(verdict for verdict in verdicts if verdict is not None),
            seconds=round(time.monotonic() - started, 3),
            prompt=None if params.prompt == asked else params.prompt,
            degraded=tuple(sorted(degraded.union(*(sample.degraded for sample in samples)))),
        )

    def _pictures(self, attempt: Attempt, held: Held, deadline: float) -> Iterable[Picture]:
        """What may be handed out, one for each sample."""
        params, samples = attempt.job.params, held.samples
        pictures = (self._wait(sample, deadline) for sample in samples)
        checker = self.checks.checker(params)
        if checker is None:
            return pictures
        painted = list(pictures)
        checks = [check_of(p, checker, s) for p, s in zip(painted, samples, strict=True)]
        verdicts = self._verdicts(checks, held, deadline)
        cover = params.safety_checker_type
        return [_judged(p, v, cover) for p, v in zip(painted, verdicts, strict=True)]

    def _intake(self, stages: Stages) -> tuple[Fetch, Decode]:
        return stages.timed("fetch", self.fetch), stages.timed("decode", self.decode)

    def _check(self, attempt: Attempt, held: Held, stages: Stages) -> Result:
        started = time.monotonic()
        deadline = started + self.timeout.total_seconds()
        job, params = attempt.job, attempt.job.params
        checker = self.checks.checkers.get(params.model_id)
        if checker is None:
            raise InternalError("This deployment no longer has a safety checker")
        pixels = picture(params, *self._intake(stages))
        asked = check(pixels, checker, job.id)
        try:
            verdicts = self._verdicts([asked], held, deadline)
        finally:
            held.let_go()
        stages.end("check")
        height, width, _ = pixels.shape
        return Result(
            keys=(),
            file_prefix=job.file_prefix,
            width=width,
            height=height,
            scheduler=params.scheduler,
            unsafe=tuple(verdicts),
            seconds=round(time.monotonic() - started, 3),
        )

    def _verdicts(self, checks: list[Sample], held: Held, deadline: float) -> list[bool]:
        """Whether each is unsafe; without an answer there is no verdict, and the attempt fails."""
        held.checks = checks
        if held.dropped:
            raise CancelledError
        self.engine.submit(checks, timeout=deadline - time.monotonic())
        verdicts = [self._wait(check, deadline).unsafe is not False for check in checks]
        FLAGGED.inc(sum(verdicts))
        return verdicts

    def _wait(self, sample: Sample, deadline: float) -> Picture:
        try:
            return sample.done.result(max(0, deadline - time.monotonic()))
        except TimeoutError:
            raise TimedOut(f"Not finished within {self.timeout.total_seconds():.0f} s") from None

    def _store(self, key: str, picture: Picture, job: Job, seed: int, stages: Stages) -> None:
        params = job.params
        scheduler = picture.scheduler or params.scheduler
        height, width, _ = picture.pixels.shape
        text = infotext(params, seed=seed, scheduler=scheduler, width=width, height=height)
        data = encode(
            picture.pixels,
            params.output_format,
            quality=params.quality,
            text=text if self.embed_parameters else "",
        )
        content_type = CONTENT_TYPES[params.output_format.upper()]
        if params.base64:
            data, content_type = base64.b64encode(data), "text/plain"
        stages.end("encode")
        self.store.put(key, data, content_type, job_id=job.id)
        stages.end("upload")


def _judged(picture: Picture, unsafe: bool, cover: Cover) -> Picture:
    pixels = censor(picture.pixels, cover) if unsafe else picture.pixels
    return replace(picture, pixels=pixels, unsafe=unsafe)


def _added(params: Params, add_ons: AddOns) -> dict[str, Any]:
    """What the request adds to the model, as a sample takes it."""
    try:
        return {
            "loras": tuple(
                WeightedLora(add_ons.loras[use.name], use.strength) for use in params.loras
            ),
            "embeddings": tuple(add_ons.embeddings[name] for name in params.embeddings),
            "vae": params.vae and add_ons.vaes[params.vae],
        }
    except KeyError as error:
        raise InternalError(f"This deployment no longer has {error}") from None


def _samples(
    attempt: Attempt, inputs: Inputs, added: dict[str, Any], *, distilled: bool
) -> list[Sample]:
    params = attempt.job.params
    return [
        Sample(
            job_id=attempt.job.id,
            model_id=params.model_id,
            prompt=params.prompt,
            negative_prompt=params.negative_prompt,
            image=inputs.image,
            mask=inputs.mask,
            height=inputs.height,
            width=inputs.width,
            steps=params.steps,
            strength=params.strength,
            guidance_scale=params.guidance_scale,
            scheduler=params.scheduler,
            scheduler_options=params.scheduler_options,
            clip_skip=params.clip_skip,
            seed=seed,
            strict=params.determinism == "strict",
            distilled=distilled,
            **added,
        )
        for seed in params.seeds
    ]
