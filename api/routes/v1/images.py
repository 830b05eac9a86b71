"""Make images."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import JSONResponse

from api.dependencies import FrontDoor, HeaderSubmitter, Json
from api.dialects import V1, Kind
from api.door import Door
from api.errors import InvalidFields
from api.routes.images import WHAT, asked_wait
from api.routes.v1.examples import DRY_RUN, QUEUED, SUCCEEDED, answers
from api.terms import Wishes
from api.v1 import deadline, job_body, warnings
from shared.tenants import Tenant

router = APIRouter()

HOW = (
    "Answers 202 with the job's place in the queue and its `Location`; with `Prefer: wait=N` 200 "
    "and the result, if it is done within N seconds. `Cancel-After` (seconds, or a time with its "
    "zone) ends it if it is not done by then. A repeated `Idempotency-Key` gets the first one's "
    "job for a day. With `dry_run` nothing is made."
)


def _makes(kind: Kind) -> Callable[..., Awaitable[Any]]:
    async def make(
        fields: Json,
        tenant: HeaderSubmitter,
        door: FrontDoor,
        prefer: Annotated[str | None, Header()] = None,
        idempotency_key: Annotated[str, Header(max_length=255)] = "",
        cancel_after: Annotated[str, Header(json_schema_extra={"format": "deadline"})] = "",
    ) -> Any:
        if not isinstance(dry_run := fields.pop("dry_run", False), bool):
            raise InvalidFields.of("dry_run", "must be true or false")
        notes = warnings(fields, kind)
        fields.setdefault("model_id", door.model.model_id)
        if dry_run:
            return JSONResponse(await _tried_out(door, fields, tenant, kind, notes))
        after = deadline(cancel_after, datetime.now(UTC))
        wishes = Wishes(asked_wait(prefer) or 0, idempotency_key, after)
        record, place = await door.submit(fields, tenant, V1, kind, wishes)
        body = job_body(record, place, door.store.links, door.settings.public_url, notes)
        status = 200 if record.state.is_final else 202
        return JSONResponse(body, status, headers={"Location": body["urls"]["self"]})

    return make


async def _tried_out(
    door: Door, fields: dict[str, Any], tenant: Tenant, kind: Kind, notes: list[str]
) -> dict[str, Any]:
    job, load = await door.try_out(fields, tenant, V1, kind)
    has_worker = load.slots > 0
    is_served = has_worker and not load.is_paused
    return {
        "dry_run": True,
        "cost": {"megapixel_steps": round(job.params.work, 3)},
        "pool": job.pool,
        "has_worker": has_worker,
        "eta": load.before(load.waiting, job.params.work).eta if is_served else None,
        "warnings": notes,
    }


for _kind in V1.kinds.values():
    router.add_api_route(
        f"/{_kind}",
        _makes(_kind),
        methods=["POST"],
        status_code=202,
        name=_kind,
        description=f"{WHAT[_kind]} {HOW}",
        responses=answers(
            "invalid_field",
            "repeated_key",
            "body_too_large",
            "too_many_jobs",
            s202=QUEUED,
            s200={"done": SUCCEEDED, "dry_run": DRY_RUN},
        ),
    )
