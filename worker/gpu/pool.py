"""The Celery pool: threads that wait for the engine, and a consumer that hears when one is free."""

import itertools
from collections.abc import Callable
from typing import Any

from celery.concurrency.base import apply_target
from celery.concurrency.thread import ApplyResult, TaskPool
from kombu.asynchronous import get_event_loop

HandBack = Callable[[str], None]
"""Gives up a task by its id: the ledger hands its job to another worker."""


def gpu_pool(hand_back: HandBack) -> type[TaskPool]:
    """The pool class for a worker whose tasks `hand_back` gives up."""

    class GpuPool(TaskPool):
        """Celery's thread pool, plus the two things it lacks for this work."""

        # Stand for process ids, which threads do not have, so they must not look like one.
        tokens = itertools.count(1 << 30)

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._tasks: dict[int, str] = {}

        def on_apply(
            self,
            target: Callable[..., Any],
            args: tuple[Any, ...] = (),
            kwargs: dict[str, Any] | None = None,
            callback: Callable[..., Any] | None = None,
            accept_callback: Callable[..., Any] | None = None,
            **_: Any,
        ) -> ApplyResult:
            token = next(self.tokens)
            _, self._tasks[token], *_rest = args
            future = self.executor.submit(
                apply_target, target, args, kwargs, callback, accept_callback, token
            )
            future.add_done_callback(lambda _: self._done(token))
            return _Handle(future)

        def _done(self, token: int) -> None:
            self._tasks.pop(token, None)
            # With prefetch off the consumer sleeps while all slots are taken, and nothing else
            # tells it that one is free.
            if loop := get_event_loop():
                loop.call_soon(int)

        def terminate_job(self, pid: int, signal: int | None = None) -> None:  # noqa: ARG002
            """SIGQUIT: not a cancellation by the caller, so the job goes back to the queue."""
            if task_id := self._tasks.get(pid):
                hand_back(task_id)

    return GpuPool


class _Handle(ApplyResult):
    def terminate(self, signal: int | None = None) -> None:
        """Celery asks the pool first; there is no process to end."""
