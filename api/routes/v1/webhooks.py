"""What came of webhooks, and once more, please."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.dependencies import FrontDoor, HeaderReader, HeaderSubmitter
from api.door import Door
from api.errors import NothingToReplay
from api.routes.v1.examples import WEBHOOK, answers
from api.routes.v1.jobs import JobId, own_job
from shared.jobs import MAX_JOB_ID, JobRecord

router = APIRouter()


async def _shown(door: Door, record: JobRecord) -> dict[str, Any]:
    job_id, url, status = record.job.id, record.job.webhook, record.webhook_status or "pending"
    attempts = [entry.model_dump() for entry in await door.deliveries.log(job_id)]
    return {"job": job_id, "url": url, "status": url and status, "attempts": attempts}


@router.get("/webhooks", responses=answers("no_such_job", s200=WEBHOOK))
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
    responses=answers("nothing_to_replay", "no_such_job", s202=WEBHOOK),
)
async def replay_webhook(job_id: JobId, tenant: HeaderSubmitter, door: FrontDoor) -> dict[str, Any]:
    """Deliver the webhook of a job that is over once more, under the same `webhook-id`."""
    replayed = await door.deliveries.replay(job_id, tenant.tenant)
    record = await own_job(door, job_id, tenant)
    if not replayed:
        raise NothingToReplay
    return await _shown(door, record)
