"""One job -> the public answers."""

import re
from typing import Any

from api.dialects import Dialect
from shared.jobs import JobRecord
from shared.outcome import meta

JOB_ID = re.compile(r"[0-9]{1,16}")
HINT = "Your image is processing in background, you can get this image using fetch API: {url}"
LATER = "Try to fetch request after seconds estimated"


def processing(record: JobRecord, eta: float, dialect: Dialect, public_url: str) -> dict[str, Any]:
    """A job that is not done; `eta` in seconds, an upper bound."""
    url = public_url.rstrip("/") + dialect.fetch_path.format(id=record.job.id)
    return {
        "status": "processing",
        "tip": HINT.format(url=url),
        "eta": eta,
        "message": LATER,
        "messege": LATER,
        "fetch_result": url,
        "id": record.job.id,
        "output": [],
        "meta": meta(record),
    }


def job_number(text: str) -> int | None:
    """The id in a path, or None for what can be none."""
    return int(text) if JOB_ID.fullmatch(text) else None


def not_found(job_id: str) -> dict[str, Any]:
    """An id that is unknown, or another tenant's."""
    message = "Request not found"
    return {
        "status": "failed",
        "id": number if (number := job_number(job_id)) is not None else "",
        "message": message,
        "messege": message,
        "output": [],
        "tip": "Make sure the id is one that this key received, and that it has not expired",
    }
