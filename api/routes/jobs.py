"""Ask about jobs."""

from typing import Any

from fastapi import APIRouter

from api.answers import job_number, not_found
from api.dependencies import Caller, Config, FrontDoor

router = APIRouter(tags=["jobs"])


@router.post("/api/v3/fetch/{job_id}")
async def fetch(job_id: str, tenant: Caller, door: FrontDoor) -> dict[str, Any]:
    """The result of an earlier request, or how far it is."""
    number = job_number(job_id)
    record = None if number is None else await door.submissions.find(number, tenant.tenant)
    return await door.answer(record) if record else not_found(job_id)


@router.post("/api/v3/system_load")
async def system_load(_: Caller, door: FrontDoor, settings: Config) -> dict[str, Any]:
    """Jobs that wait, and the seconds until a new one would be done."""
    card = door.registry.get(settings.default_model)
    load = await door.submissions.load(card.pool if card else "default")
    waits = load.eta(load.waiting) if load.waiting else 0
    return {"queue_num": load.waiting, "queue_time": waits, "status": "ok"}
