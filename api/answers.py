"""One job -> the public answers."""

from typing import Any

from api.dialects import Dialect
from shared.jobs import Job, JobRecord, JobState
from shared.object_store import output_keys
from shared.outcome import meta

HINT = "Your image is processing in background, you can get this image using fetch API: {url}"
LATER = "Try to fetch request after seconds estimated"


def processing(record: JobRecord, eta: float, dialect: Dialect, public_url: str) -> dict[str, Any]:
    """A job that is not done; `eta` in seconds, an upper bound.

    Of a running one `progress` says the denoising steps done and in all, over all samples, as soon
    as it is known how many there are.
    """
    url = public_url.rstrip("/") + dialect.fetch_path.format(id=record.job.id)
    has_begun = record.state is JobState.RUNNING and record.steps > 0
    return {
        "status": "processing",
        "tip": HINT.format(url=url),
        "eta": eta,
        "message": LATER,
        "messege": LATER,
        "fetch_result": url,
        "id": record.job.id,
        "request_id": str(record.job.id),
        "output": [],
        "future_links": future_links(record.job, public_url),
        "webhook_status": "",
        "meta": meta(record),
        **({"progress": {"step": record.step, "steps": record.steps}} if has_begun else {}),
    }


def future_links(job: Job, public_url: str) -> list[str]:
    """Where the outputs will be; until then nothing is there."""
    if job.params.task == "check":
        return []
    return [f"{public_url.rstrip('/')}/{key}" for key in output_keys(job, 1)]


def not_found(job_id: int | None) -> dict[str, Any]:
    """An id that is unknown, or another tenant's; None: what can be no id."""
    message = "Request not found"
    return {
        "status": "failed",
        "id": "" if job_id is None else job_id,
        "message": message,
        "messege": message,
        "output": [],
        "tip": "Make sure the id is one that this key received, and that it has not expired",
    }
