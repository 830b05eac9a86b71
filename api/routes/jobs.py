"""Ask about jobs, by each version's paths."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from api.answers import not_found
from api.dependencies import Fields, FrontDoor, Reader
from api.dialects import DIALECTS, Dialect
from api.errors import REQUIRED, InvalidFields, always_200

router = APIRouter(tags=["jobs"])

JOB_ID = re.compile(r"[0-9]{1,16}")

JobId = Annotated[str, Path(min_length=1, examples=["2459942952603423"])]

Fetch = Callable[..., Awaitable[Any]]


def _fetches(dialect: Dialect) -> tuple[Fetch, Fetch]:
    async def fetch_by_path(
        job_id: JobId, tenant: Reader, door: FrontDoor, request: Request
    ) -> Any:
        """The result of an earlier request, or how far it is."""
        known = int(job_id) if JOB_ID.fullmatch(job_id) else None
        record = known and await door.submissions.find(known, tenant.tenant)
        if record:
            return door.answer(record, await door.place(record))
        says_ok = not dialect.is_modern or always_200(request, door.settings.errors_as_200)
        return JSONResponse(not_found(known), 200 if says_ok else 404)

    async def fetch_by_field(
        fields: Fields, tenant: Reader, door: FrontDoor, request: Request
    ) -> Any:
        """The same, with the id in the field `request_id`."""
        if "request_id" not in fields:
            raise InvalidFields.of("request_id", REQUIRED)
        job_id = fields["request_id"]
        if isinstance(job_id, bool) or not isinstance(job_id, str | int):
            raise InvalidFields.of("request_id", "must be a number or a string")
        return await fetch_by_path(str(job_id), tenant, door, request)

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
async def system_load(_: Reader, door: FrontDoor) -> dict[str, Any]:
    """Jobs that wait, and the seconds until a new one would be done."""
    load = await door.submissions.load(door.model.pool)
    waits = load.before(load.waiting).eta if load.waiting or load.running else 0
    return {"queue_num": load.waiting, "queue_time": waits, "status": "ok"}


@router.get("/api/v6/processing/request_count", name="request_count (GET)")
@router.post("/api/v6/processing/request_count")
async def request_count(tenant: Reader, door: FrontDoor) -> dict[str, Any]:
    """The caller's jobs that wait or run."""
    return {
        "status": "success",
        "processing_count": await door.submissions.live(tenant.tenant),
        "message": "Current processing request count retrieved successfully",
    }
