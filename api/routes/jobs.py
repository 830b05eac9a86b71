"""Ask about jobs."""

import re
from typing import Any

from fastapi import APIRouter

from api.answers import not_found
from api.dependencies import Caller, FrontDoor

router = APIRouter(tags=["jobs"])

JOB_ID = re.compile(r"[0-9]{1,16}")


@router.post("/api/v3/fetch/{job_id}")
async def fetch(job_id: str, tenant: Caller, door: FrontDoor) -> dict[str, Any]:
    """The result of an earlier request, or how far it is."""
    if not JOB_ID.fullmatch(job_id):
        return not_found(None)
    record = await door.submissions.find(int(job_id), tenant.tenant)
    return await door.answer(record) if record else not_found(int(job_id))


@router.post("/api/v3/system_load")
async def system_load(_: Caller, door: FrontDoor) -> dict[str, Any]:
    """Jobs that wait, and the seconds until a new one would be done."""
    load = await door.submissions.load(door.model.pool)
    waits = load.eta(load.waiting) if load.waiting else 0
    return {"queue_num": load.waiting, "queue_time": waits, "status": "ok"}
