"""Ask about jobs, by each version's paths."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from api.answers import not_found
from api.dependencies import Caller, Fields, FrontDoor
from api.dialects import DIALECTS, Dialect
from api.errors import REQUIRED, InvalidFields

router = APIRouter(tags=["jobs"])

JOB_ID = re.compile(r"[0-9]{1,16}")

Fetch = Callable[..., Awaitable[Any]]


def _fetches(dialect: Dialect) -> tuple[Fetch, Fetch]:
    async def fetch_by_path(job_id: str, tenant: Caller, door: FrontDoor) -> Any:
        """The result of an earlier request, or how far it is."""
        known = int(job_id) if JOB_ID.fullmatch(job_id) else None
        record = known and await door.submissions.find(known, tenant.tenant)
        if record:
            return await door.answer(record)
        status = 404 if dialect.is_modern and not door.settings.errors_as_200 else 200
        return JSONResponse(not_found(known), status)

    async def fetch_by_field(fields: Fields, tenant: Caller, door: FrontDoor) -> Any:
        """The same, with the id in the field `request_id`."""
        if "request_id" not in fields:
            raise InvalidFields.of("request_id", REQUIRED)
        return await fetch_by_path(str(fields["request_id"]), tenant, door)

    return fetch_by_path, fetch_by_field


for _dialect in DIALECTS.values():
    _by_path, _by_field = _fetches(_dialect)
    for _path, _fetch in (
        (_dialect.fetch_path.format(id="{job_id}"), _by_path),
        (_dialect.fetch_path.removesuffix("/{id}"), _by_field),
    ):
        for _method in ("POST", "GET"):
            router.add_api_route(
                _path, _fetch, methods=[_method], name=f"fetch ({_dialect.name}, {_method})"
            )


@router.post("/api/v3/system_load")
async def system_load(_: Caller, door: FrontDoor) -> dict[str, Any]:
    """Jobs that wait, and the seconds until a new one would be done."""
    load = await door.submissions.load(door.model.pool)
    waits = load.eta(load.waiting) if load.waiting else 0
    return {"queue_num": load.waiting, "queue_time": waits, "status": "ok"}
