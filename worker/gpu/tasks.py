"""The Celery side: a name and one call."""

from celery import Celery

from shared.queue import GENERATE
from worker.gpu.runner import JobRunner


def register(celery: Celery, runner: JobRunner) -> None:
    """Make the worker answer to the one task there is."""

    # shared=False: Celery would otherwise put the task into every app of the process.
    @celery.task(name=GENERATE, shared=False)
    def generate(job_id: str, generation: str) -> None:
        runner.run(job_id, generation)
