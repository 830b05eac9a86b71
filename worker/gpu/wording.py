"""Which prompt is painted: the job's own, or what a text model makes of it."""

import logging

from shared.jobs import Job
from worker.gpu.families import GoOn

log = logging.getLogger(__name__)

TEMPLATE = "prompt_template"
"""Says in `degraded` that the prompt is a template's, where a text model was to write it."""


def worded(job: Job, go_on: GoOn | None) -> tuple[Job, set[str]]:
    """The job with the prompt that is really painted, and what had to be done otherwise."""
    params = job.params
    if params.opening is None:
        return job, set()
    try:
        if go_on is None:
            raise LookupError("this worker has no text model")
        prompt = go_on(params.opening, params.seeds[0])
    except Exception:
        # Its words are a bonus: the job has a prompt without them.
        log.warning("text model failed", extra={"job_id": job.id}, exc_info=True)
        return job, {TEMPLATE}
    params = params.model_copy(update={"prompt": prompt})
    return job.model_copy(update={"params": params}), set()
