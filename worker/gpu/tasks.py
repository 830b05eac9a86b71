"""The Celery side: a name and one call."""

from celery import Celery
from celery.worker.request import Request

from shared.queue import GENERATE
from worker.gpu.runner import JobRunner


class Hint(Request):
    """A message that Redis forgot when it was taken: there is nothing to acknowledge."""

    def acknowledge(self) -> None:
        """Celery would ask Redis all the same, and note each message for ever."""
        self.acknowledged = True


def register(celery: Celery, runner: JobRunner) -> None:
    """Make the worker answer to the one task there is."""

    # shared=False: Celery would otherwise put the task into every app of the process.
    @celery.task(name=GENERATE, shared=False, Request=Hint)
    def generate(job_id: str, generation: str) -> None:
        runner.run(job_id, generation)
