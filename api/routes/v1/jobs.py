"""Look at jobs, list, follow and cancel them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import StreamingResponse
from redis.exceptions import RedisError

from api.dependencies import FrontDoor, HeaderReader, HeaderSubmitter
from api.door import Door
from api.errors import AlreadyOver, NoSuchJob
from api.routes.v1.examples import EVENTS, JOB_ID, QUEUED, SUCCEEDED, answers
from api.terms import NOWHERE
from api.v1 import job_body, progress_body, queue_body
from shared.jobs import MAX_JOB_ID, JobRecord, JobState
from shared.tenants import Tenant

router = APIRouter()

LOOK_SECONDS = 1.0
"""How often a stream reads how far its job is; workers say it once a second."""
HEARTBEAT_SECONDS = 15.0
"""A stream is never silent for longer: proxies cut what is."""
LONGEST_PAUSE = 10.0
"""Between two looks while the ledger does not answer."""

JobId = Annotated[int, Path(ge=1, le=MAX_JOB_ID, examples=[JOB_ID])]


async def _one_stream(tenant: HeaderReader, door: FrontDoor) -> AsyncIterator[None]:
    # Counted until the answer has gone out, and before anything is waited for: of requests that
    # come together, all would find the same number.
    with door.waiting.streaming(tenant.tenant, most=door.settings.most_streams):
        yield


OneStream = Annotated[None, Depends(_one_stream)]


async def own_job(door: Door, job_id: int, tenant: Tenant) -> JobRecord:
    """The caller's job; raises NoSuchJob."""
    record = await door.submissions.find(job_id, tenant.tenant)
    if record is None:
        raise NoSuchJob
    return record


async def _shown(door: Door, record: JobRecord) -> dict[str, Any]:
    place = await door.place(record)
    return job_body(record, place, door.store.links, door.settings.public_url)


@router.get("/jobs", responses=answers(s200={"jobs": [SUCCEEDED], "next_cursor": JOB_ID}))
async def list_jobs(
    tenant: HeaderReader,
    door: FrontDoor,
    track_id: Annotated[str | None, Query(description="As text, or as JSON")] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[int | None, Query(ge=1, description="The last `next_cursor`")] = None,
) -> dict[str, Any]:
    """The newest jobs first: all that are kept, a thousand at the most, or those of a track_id."""
    records, more = await door.submissions.newest(tenant.tenant, track_id, after=cursor, most=limit)
    return {"jobs": [await _shown(door, record) for record in records], "next_cursor": more}


@router.get("/jobs/{job_id}", responses=answers("no_such_job", s200=QUEUED))
async def get_job(job_id: JobId, tenant: HeaderReader, door: FrontDoor) -> dict[str, Any]:
    """A job as it stands."""
    return await _shown(door, await own_job(door, job_id, tenant))


@router.delete(
    "/jobs/{job_id}",
    responses=answers(
        "no_such_job", "already_over", s200=QUEUED | {"status": "cancelled", "queue": None}
    ),
)
async def cancel_job(job_id: JobId, tenant: HeaderSubmitter, door: FrontDoor) -> dict[str, Any]:
    """Cancel a job that waits or runs; a running one leaves its device within a second or a step.

    Cancelling it again changes nothing. One that has ended otherwise answers 409.
    """
    ended = await door.submissions.cancel(job_id, tenant.tenant)
    record = await own_job(door, job_id, tenant)
    if not ended and record.state is not JobState.CANCELLED:
        raise AlreadyOver(record.state)
    return await _shown(door, record)


@router.get(
    "/jobs/{job_id}/events",
    response_class=StreamingResponse,
    responses={
        **answers("no_such_job", "too_many_streams"),
        200: {
            "description": "Server-sent events, until the job ends.",
            "content": {"text/event-stream": {"example": EVENTS}},
        },
    },
)
async def follow_job(
    job_id: JobId, tenant: HeaderReader, door: FrontDoor, _: OneStream
) -> StreamingResponse:
    """Follow a job: `queued` with its place, `running` with its steps, then how it ended.

    `loading` stands for `running` while its worker loads its model. The last event is `succeeded`,
    `failed` or `cancelled` and has the whole job; close then.
    """
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = events(door, await own_job(door, job_id, tenant))
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def events(
    door: Door,
    record: JobRecord,
    *,
    every: float = LOOK_SECONDS,
    heartbeat: float = HEARTBEAT_SECONDS,
) -> AsyncIterator[str]:
    """What happens to a job from now on, as server-sent events; ends with it."""
    said, said_at, pause = "", time.monotonic(), every
    with door.waiting.for_job(record.job.id) as ended:
        while True:
            try:
                found = await door.submissions.find(record.job.id, record.job.tenant)
                if found is None:  # an operator deleted it
                    return
                event, pause = await _event(door, found), every
            except RedisError:  # which comes back, and until then the caller need not
                event, pause, found = said, min(2 * pause, LONGEST_PAUSE), None
            if event != said:
                yield event
                said, said_at = event, time.monotonic()
            elif time.monotonic() - said_at >= heartbeat:
                yield ": still here\n\n"
                said_at = time.monotonic()
            if found and found.state.is_final:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait() if found else asyncio.sleep(pause), pause)


async def _event(door: Door, record: JobRecord) -> str:
    name: str = record.state
    match record.state:
        case JobState.RUNNING if record.is_loading:
            name, data = "loading", queue_body(record, NOWHERE)
        case JobState.QUEUED:
            data = queue_body(record, await door.place(record))
        case JobState.RUNNING:
            data = progress_body(record)
        case _:
            data = await _shown(door, record)
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
