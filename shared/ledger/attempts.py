"""What a GPU worker does with the ledger: claim a job, keep it, end it or hand it back."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from redis import Redis

from shared.config import Settings
from shared.jobs import Failure, Job, JobState, Result
from shared.ledger.scripts import script_settings, source


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claimed job. `owner` names this attempt alone: what a lost one still sends is stale."""

    job: Job
    generation: int
    owner: str
    number: int
    """1 for the first."""
    suspect: bool = False
    """An earlier one ended with its worker, and may have ended it."""


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """What a live worker says of itself."""

    name: str
    pools: frozenset[str]
    slots: int
    occupancy: float
    """Mean rows of a denoising step."""
    steps: int
    models: frozenset[str] = frozenset()
    """Ids of those in its memory."""
    checked: frozenset[str] = frozenset()
    """Ids of those whose pictures it can check."""


class Attempts:
    """The ledger, as a GPU worker uses it."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = script_settings(settings)
        self._keep = settings.keep_record
        self._claim = redis.register_script(source("claim"))
        self._renew = redis.register_script(source("renew"))
        self._finish = redis.register_script(source("finish"))
        self._hand_back = redis.register_script(source("hand_back"))
        self._set_aside = redis.register_script(source("set_aside"))

    def claim(self, job_id: str, generation: str, owner: str) -> Attempt | None:
        """Take the job; None when the message was stale, doubled or of an unknown job."""
        claimed = self._claim(args=[self._settings, job_id, generation, owner])
        if not claimed:
            return None
        job, number, suspect = claimed
        parsed = Job.model_validate_json(job)
        return Attempt(parsed, int(generation), owner, int(number), suspect=bool(suspect))

    def set_aside(self, attempt: Attempt, *, waits: bool) -> bool:
        """Whether the job only waits for its turn: then the end of its worker is not its fault.

        False when this attempt no longer holds it.
        """
        return bool(self._set_aside(args=[self._settings, *_key(attempt), int(waits)]))

    def renew(
        self, progress: Sequence[tuple[Attempt, int, int]], *, loading: Collection[Attempt] = ()
    ) -> list[bool]:
        """Keep attempts alive, note (steps done, steps in all); False for each one that is lost.

        Those that are `loading` wait for their model to be in memory.
        """
        args: list[str | int] = [self._settings]
        for attempt, step, steps in progress:
            args += [*_key(attempt), step, steps, int(attempt in loading)]
        return [held == 1 for held in self._renew(args=args)]

    def succeed(self, attempt: Attempt, result: Result) -> bool:
        """End the job with its result; False when this attempt no longer holds it."""
        return self._end(attempt, JobState.SUCCEEDED, "result", result.model_dump_json())

    def fail(self, attempt: Attempt, failure: Failure) -> bool:
        """End the job with a failure that is final; False when this attempt no longer holds it."""
        return self._end(attempt, JobState.FAILED, "failure", failure.model_dump_json())

    def _end(self, attempt: Attempt, state: JobState, field: str, payload: str) -> bool:
        params = attempt.job.params
        keep = round(self._keep(temp=params.temp).total_seconds() * 1000)
        ending = (state, field, payload, keep, params.size)
        return bool(self._finish(args=[self._settings, *_key(attempt), *ending]) == 1)

    def hand_back(
        self, attempt: Attempt, *, charged: bool, delay: timedelta = timedelta(0), failure: Failure
    ) -> str:
        """Give the job to another attempt, after `delay`; a charged one may have been the last.

        Returns queued, failed (with `failure`) or stale.
        """
        milliseconds = round(delay.total_seconds() * 1000)
        ending = (int(charged), milliseconds, failure.model_dump_json())
        return str(self._hand_back(args=[self._settings, *_key(attempt), *ending]))

    def register(self, worker: WorkerRecord, *, lifetime: timedelta) -> None:
        """Show the worker as alive for `lifetime`."""
        seconds, _ = self._redis.time()
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zremrangebyscore("workers", "-inf", seconds)
            pipe.zadd("workers", {worker.name: seconds + lifetime.total_seconds()})
            pipe.hset(
                f"worker:{worker.name}",
                mapping={
                    "pools": ",".join(sorted(worker.pools)),
                    "slots": worker.slots,
                    "occupancy": round(worker.occupancy, 3),
                    "steps": worker.steps,
                    "models": ",".join(sorted(worker.models)),
                    "checked": ",".join(sorted(worker.checked)),
                },
            )
            pipe.expire(f"worker:{worker.name}", lifetime)
            pipe.execute()

    def unregister(self, name: str) -> None:
        """Take the worker off the list."""
        self._redis.zrem("workers", name)
        self._redis.delete(f"worker:{name}")


def _key(attempt: Attempt) -> tuple[int, int, str]:
    """What a script checks before it believes an attempt."""
    return attempt.job.id, attempt.generation, attempt.owner
