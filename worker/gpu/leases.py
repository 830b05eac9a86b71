"""Keeps this worker's attempts alive, and hands them back when it stops."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from shared.errors import InternalError
from shared.jobs import Failure
from shared.ledger.attempts import Attempt, Attempts

if TYPE_CHECKING:
    from worker.gpu.samples import Sample

log = logging.getLogger(__name__)

STOPPED = Failure.of(InternalError("The worker was stopped"))


class Held:
    """One attempt that this worker holds."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.samples: Sequence[Sample] = ()
        self.checks: Sequence[Sample] = ()
        """Of what the samples became; no steps that anybody counts."""
        self.dropped = False
        """Someone else has the job, or will: whatever is still made of it is thrown away."""
        self.wake: Callable[[], object] = lambda: None
        """Called when it is dropped, for who waits in a line."""

    @property
    def progress(self) -> tuple[Attempt, int, int]:
        """The attempt, denoising steps done, and steps in all; 0 until the first sample begins."""
        done = sum(sample.step for sample in self.samples)
        # Samples of a job take as many steps each, also those that have not begun.
        longest = max((sample.total for sample in self.samples), default=0)
        return self.attempt, done, len(self.samples) * longest

    @property
    def is_loading(self) -> bool:
        """Whether it waits for a model to be in memory."""
        return any(sample.loading for sample in (*self.samples, *self.checks))

    def drop(self) -> None:
        """Stop working on it."""
        self.dropped = True
        self.wake()
        self.let_go()

    def let_go(self) -> None:
        """Take what is not done from the engine, which forgets it before the next step."""
        for sample in (*self.samples, *self.checks):
            sample.done.cancel()


class Leases:
    """The attempts in hand, which a thread renews."""

    def __init__(self, attempts: Attempts, *, every: timedelta) -> None:
        self._attempts = attempts
        self._every = every.total_seconds()
        self._held: dict[str, Held] = {}
        self._unwanted: set[str] = set()
        """Given back before they were held: a stop may come between the claim and that."""
        self._draining = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, *, before_each: Callable[[], None]) -> None:
        """Begin to renew; `before_each` may end the process instead."""
        self._thread = threading.Thread(
            target=self._run, args=(before_each,), name="leases", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread; leases that are still held run out."""
        self._stopping.set()
        if self._thread:
            self._thread.join()

    @contextmanager
    def hold(self, attempt: Attempt) -> Iterator[Held]:
        """Keep an attempt alive for the length of the block; it may be dropped from the start."""
        task_id = f"{attempt.job.id}.{attempt.generation}"
        held = self._held[task_id] = Held(attempt)
        try:
            if self._draining or task_id in self._unwanted:
                self.hand_back(task_id)
            yield held
        finally:
            self._held.pop(task_id, None)

    def hand_back(self, task_id: str) -> None:
        """Give a job back to the queue without charging the attempt."""
        self._unwanted.add(task_id)
        if held := self._held.get(task_id):
            self._attempts.hand_back(held.attempt, charged=False, failure=STOPPED)
            held.drop()
            log.info("job handed back", extra={"job_id": held.attempt.job.id})

    def hand_all_back(self) -> None:
        """Give every job back, also those that are still to come."""
        self._draining = True
        for task_id in list(self._held):
            try:
                self.hand_back(task_id)
            except RedisError:
                # Its lease runs out instead; the others may have more luck.
                log.exception("job not handed back", extra={"task_id": task_id})

    def renew(self) -> None:
        """Renew every lease once; drop what this worker no longer holds."""
        held = list(self._held.values())
        if not held:
            return
        loading = [one.attempt for one in held if one.is_loading]
        answers = self._attempts.renew([one.progress for one in held], loading=loading)
        for one, alive in zip(held, answers, strict=True):
            # An attempt may have ended between the two lines above: then it is not lost, but done.
            if not alive and one in self._held.values():
                # Cancelled, or too late and given to another worker.
                log.info("lease lost", extra={"job_id": one.attempt.job.id})
                one.drop()

    def _run(self, before_each: Callable[[], None]) -> None:
        while not self._stopping.wait(self._every):
            try:
                before_each()
                self.renew()
            except Exception:
                # Whatever it is: without this thread the worker would lose every job it takes.
                log.exception("leases not renewed")
