"""Our own API: what `/v1` reads beside `api/requests.py`, and one job -> its body."""

import difflib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from api.dialects import Kind
from api.errors import InvalidFields
from api.requests import IMAGES, ImageRequest
from api.terms import Place
from shared.jobs import JobRecord, JobState
from shared.outcome import Links, meta


def _names(field: str, info: FieldInfo) -> list[str]:
    alias = info.validation_alias
    return [*map(str, alias.choices)] if isinstance(alias, AliasChoices) else [field]


NAMES = {name for field, info in ImageRequest.model_fields.items() for name in _names(field, info)}
"""Every field that a request may have."""
Reason = Literal["its_turn_comes", "key_at_its_limit", "no_worker", "queue_paused", "loading_model"]
"""Why a job waits."""
UNTIL_WHEN_NOBODY_KNOWS: frozenset[Reason] = frozenset({"no_worker", "queue_paused"})
MOST_WARNINGS = 20
SHOWN = 64
"""Characters of an unknown field's name that are repeated."""
LONGEST_DEADLINE = timedelta(days=7)
DEADLINE = "must be seconds (30) or a time with its zone (2030-01-31T12:00:00Z), at most 7 days on"

ERRORS = {
    "invalid_request": (400, "The request cannot be used; the message says why."),
    "invalid_field": (400, "A field, named in `param`, cannot be used."),
    "unknown_model": (400, "`model_id` is not one of GET /v1/models."),
    "unreadable_body": (400, "The body is no JSON object."),
    "invalid_key": (401, "No API key, or one that is nobody's: send `Authorization: Bearer KEY`."),
    "not_allowed": (403, "The key is good, but not for this: it lacks the scope."),
    "not_found": (404, "There is nothing at this path."),
    "no_such_job": (404, "The id is unknown, expired, or another key's."),
    "method_not_allowed": (405, "The path is right, the method is not."),
    "already_over": (409, "The job cannot be cancelled any more."),
    "nothing_to_replay": (409, "The job is not over, or has no webhook."),
    "not_finished": (409, "The job has to end first."),
    "repeated_key": (409, "The Idempotency-Key came with another request within the last day."),
    "body_too_slow": (408, "The body came too slowly."),
    "head_too_large": (431, "The address or the headers are too long."),
    "body_too_large": (413, "The request has too many bytes."),
    "too_many_jobs": (429, "The key has as many live jobs as it may have; see Retry-After."),
    "too_many_requests": (429, "The key asks more often than it may; see Retry-After."),
    "too_many_streams": (429, "The key follows as many jobs at once as it may."),
    "internal_error": (500, "Our fault; the log has it under `request_id`."),
    "unavailable": (503, "Nothing was accepted; try again after Retry-After."),
}
"""Code -> HTTP status and what it means."""


def warnings(fields: Mapping[str, Any], kind: Kind) -> list[str]:
    """What a request has that nothing will look at."""
    unknown = [name for name in fields if name not in NAMES]
    unused = {"init_image", "mask_image"} - {*IMAGES[kind]} if kind == "text2img" else set()
    return [
        *(f"{name} is not used by {kind}" for name in sorted(unused & fields.keys())),
        *map(_unknown, unknown[:MOST_WARNINGS]),
    ]


def _unknown(name: str) -> str:
    shown = ascii(name[:SHOWN])
    near = difflib.get_close_matches(name[:SHOWN], NAMES, 1)
    return f"{shown} is unknown and was ignored" + (f"; did you mean {near[0]}?" if near else "")


def deadline(header: str | None, now: datetime) -> timedelta | None:
    """What a Cancel-After header asks for: seconds, or an ISO 8601 time with a zone."""
    if not header:
        return None
    try:
        after = timedelta(seconds=float(header))
    except (ValueError, OverflowError):
        after = _until(header, now)
    if not timedelta(0) < after <= LONGEST_DEADLINE:
        raise InvalidFields.of("Cancel-After", f"{DEADLINE}, got {header[:40]!a}")
    return after


def _until(time: str, now: datetime) -> timedelta:
    try:
        return datetime.fromisoformat(time) - now
    except (ValueError, TypeError):  # no time, or one without a zone
        return timedelta(0)


def job_body(
    record: JobRecord, place: Place, links: Links, public_url: str, notes: Iterable[str] = ()
) -> dict[str, Any]:
    """A job as it stands; `notes` become its warnings."""
    job, url = record.job, f"{public_url.rstrip('/')}/v1/jobs/{record.job.id}"
    return {
        "id": job.id,
        "status": record.state,
        "created": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "model_id": job.params.model_id,
        "track_id": job.track_id,
        "queue": queue_body(record, place),
        "progress": progress_body(record) or None if record.state is JobState.RUNNING else None,
        "images": _images(record, links),
        "seconds": record.result and record.result.seconds,
        "error": record.failure and record.failure.model_dump(),
        "parameters": meta(record),
        "warnings": list(notes),
        "urls": {"self": url, "events": f"{url}/events"},
    }


def queue_body(record: JobRecord, place: Place) -> dict[str, Any] | None:
    """Why a job waits, and for how long; None when it does not."""
    if record.state is JobState.RUNNING and record.is_loading:
        return {"position": 0, "reason": "loading_model", "eta": None}
    if record.state is not JobState.QUEUED:
        return None
    reason = _reason(place)
    return {
        "position": place.ahead + 1,
        "reason": reason,
        "eta": None if reason in UNTIL_WHEN_NOBODY_KNOWS else place.eta(record),
    }


def _reason(place: Place) -> Reason:
    if place.load.is_paused and place.standing.in_lane:
        return "queue_paused"
    if not place.load.slots:
        return "no_worker"
    return "key_at_its_limit" if place.standing.is_held_back else "its_turn_comes"


def progress_body(record: JobRecord) -> dict[str, int]:
    """Denoising steps done and in all, over all samples; nothing while their number is unknown."""
    return {"step": record.step, "steps": record.steps} if record.steps else {}


def _images(record: JobRecord, links: Links) -> list[dict[str, Any]]:
    result = record.result
    if result is None:
        return []
    unsafe = result.unsafe or [None] * len(result.keys)
    return [
        {"url": url, "seed": seed, "unsafe": verdict}
        for key, url, seed, verdict in zip(
            result.keys, links(result.keys), record.job.params.seeds, unsafe, strict=False
        )
        if key not in record.deleted
    ]
