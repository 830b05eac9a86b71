"""What came of webhooks, and once more, please."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.dependencies import FrontDoor, HeaderReader, HeaderSubmitter
from api.door import Door
from api.errors import ApiError
from api.routes.v1.examples import JOB_ID, answers
from api.routes.v1.jobs import JobId, own_job
from shared.jobs import MAX_JOB_ID, JobRecord

router = APIRouter()

EXAMPLE = {
    "job": JOB_ID,
    "url": "https://example.com/hook",
    "status": "pending",
    "attempts": [{"at": 1895745600.0, "seconds": 0.2, "status": 500, "reason": ""}],
}


async def _shown(door: Door, record: JobRecord) -> dict[str, Any]:
    job_id, url, status = record.job.id, record.job.webhook, record.webhook_status or "pending"
    attempts = [entry.model_dump() for entry in await door.deliveries.log(job_id)]
    return {"job": job_id, "url": url, "status": url and status, "attempts": attempts}


@router.get("/webhooks", responses=answers("no_such_job", s200=EXAMPLE))
async def webhook_log(
    tenant: HeaderReader,
    door: FrontDoor,
    job: Annotated[int, Query(ge=1, le=MAX_JOB_ID, description="The job's id")],
) -> dict[str, Any]:
    """The last 50 attempts to deliver a job's webhook; `pending`, `delivered`, or `given_up`."""
    return await _shown(door, await own_job(door, job, tenant))


@router.post(
    "/webhooks/{job_id}/replay",
    status_code=202,
    responses=answers("invalid_request", "no_such_job", s202=EXAMPLE),
)
async def replay_webhook(job_id: JobId, tenant: HeaderSubmitter, door: FrontDoor) -> dict[str, Any]:
    """Deliver the webhook of a job that is over once more, under the same `webhook-id`."""
    replayed = await door.deliveries.replay(job_id, tenant.tenant)
    record = await own_job(door, job_id, tenant)
    if not replayed:
        raise ApiError("The job is not over, has no webhook, or had it replayed just now")
    return await _shown(door, record)
