"""A job's record, from the hash that the scripts keep."""

from collections.abc import Mapping

from shared.jobs import Failure, Job, JobRecord, Result

DELETED = "deleted:"
"""Stands before the key of a deleted output, as a field of the hash."""


def read(fields: Mapping[str, str]) -> JobRecord | None:
    """The record in a hash, or None for an empty one."""
    if not fields:
        return None
    return JobRecord(
        job=Job.model_validate_json(fields["job"]),
        state=fields["state"],
        generation=fields["generation"],
        attempts=fields["attempts"],
        step=fields.get("step", 0),
        steps=fields.get("steps", 0),
        is_loading="loading" in fields,
        result=Result.model_validate_json(fields["result"]) if "result" in fields else None,
        failure=Failure.model_validate_json(fields["failure"]) if "failure" in fields else None,
        created=int(fields["created"]) / 1000,
        deleted=frozenset(
            name.removeprefix(DELETED) for name in fields if name.startswith(DELETED)
        ),
        webhook_status=fields.get("webhook_status", ""),
    )
