"""What goes to `lua/submit.lua` for each job, and what comes back."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from redis.exceptions import ResponseError

from shared.jobs import Job
from shared.ledger.estimates import Load
from shared.ledger.places import Found
from shared.webhooks import new_message_id


class Outcome(StrEnum):
    """What became of a submission."""

    ACCEPTED = "accepted"
    REPEATED = "repeated"
    """The same idempotency key and request came before: the id is the first job's."""
    CONFLICT = "conflict"
    """The same idempotency key came before with another request."""
    TENANT_FULL = "tenant_full"
    FULL = "full"
    BEHIND = "behind"
    """A job of the pool has waited for too long already."""
    COLLISION = "collision"
    """The random id is taken."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A job and the terms it is submitted under."""

    job: Job
    weight: float
    most_live: int
    """Of the tenant, queued or running."""
    most_waiting: int
    """Of the pool."""
    idempotency_key: str = ""
    digest: str = ""
    """Of the request, to tell a repeat from another request under the same key."""
    cancel_after: timedelta | None = None
    """Ends it, unless it has ended by then."""
    most_running: int | None = None
    """Of the tenant, on devices or on the way there; its other jobs wait in their lanes."""
    shed_after: timedelta | None = None
    """Refused if devices are behind and a job of the pool has waited for longer."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The ledger's answer to a submission."""

    outcome: Outcome
    job_id: int
    waiting: int
    """Jobs of the pool that waited before it."""
    created: float
    load: Load | None
    """Of the pool, just after it."""
    standing: Found | None
    """Of a job that was accepted just now, for `read_standing`."""


def terms(submission: Submission) -> str:
    """All that the script looks at, since it does not look into the job."""
    job, running = submission.job, submission.most_running
    said = (
        job.id,
        job.tenant,
        job.pool,
        job.priority,
        submission.weight,
        job.webhook or "",
        new_message_id(),
        submission.idempotency_key,
        submission.digest,
        job.params.work,
        submission.most_live,
        submission.most_waiting,
        _milliseconds(submission.cancel_after),
        "" if job.track_id is None else track_digest(job.track_id),
        "" if running is None else running,
        _milliseconds(submission.shed_after),
    )
    return json.dumps([str(term) for term in said])


def read_receipt(found: Any, load: Load | None) -> Receipt | Exception:
    """A receipt, or the error that concerned its job alone."""
    if isinstance(found, dict):
        return ResponseError(found["error"])
    outcome, job_id, waiting, now, *standing = found
    return Receipt(
        Outcome(outcome),
        int(job_id),
        waiting,
        now / 1000,
        load,
        standing[0] if standing else None,
    )


def _milliseconds(time: timedelta | None) -> int | str:
    return "" if time is None else round(time.total_seconds() * 1000)


def track_digest(track_id: Any) -> str:
    """A track_id as it is looked up: 5 and "5" are one, and objects however they are written."""
    if isinstance(track_id, str) and track_id.startswith(("{", "[")):
        with suppress(ValueError, RecursionError):
            return track_digest(json.loads(track_id))
    text = track_id if isinstance(track_id, str) else json.dumps(track_id, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
