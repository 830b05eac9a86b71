"""What the service has: models, room for uploads, and the meaning of its errors."""

import asyncio
from typing import Any

from fastapi import APIRouter, HTTPException

from api.dependencies import FrontDoor, HeaderReader, HeaderSubmitter, Json
from api.errors import InvalidFields
from api.routes.v1.examples import answers, json_body
from api.v1 import ERRORS
from shared.images import CONTENT_TYPES, MAX_BYTES
from shared.object_store import UPLOAD_TIME, upload_key

router = APIRouter()

_MODEL = {
    "model_id": "demo",
    "family": "sd",
    "licence": "",
    "limits": {"min_side": 64, "max_side": 768, "max_steps": 51, "max_samples": 4},
    "is_default": True,
    "has_worker": True,
    "is_paused": False,
}
_UPLOAD = {
    "url": "https://img.example.com/uploads/0123456789abcdef0123456789abcdef.png",
    "put": {
        "url": "https://s3.example.com/img2img/uploads/0123456789abcdef0123456789abcdef.png?...",
        "headers": {"Content-Type": "image/png", "Content-Length": "123456"},
        "expires_in": 3600,
    },
}
_UPLOAD_BODY = {
    "type": "object",
    "required": ["content_type", "size"],
    "properties": {
        "content_type": {"type": "string", "enum": [*CONTENT_TYPES.values()]},
        "size": {"type": "integer", "minimum": 1, "maximum": MAX_BYTES},
    },
}


@router.get("/models", responses=answers(s200={"models": [_MODEL]}))
async def list_models(_: HeaderReader, door: FrontDoor) -> dict[str, Any]:
    """The models of this deployment, their limits, and whether a live worker serves them now.

    Jobs of one that `is_paused`, by an operator, are accepted and wait.
    """
    pools = sorted(door.registry.pools)
    found = await asyncio.gather(*map(door.submissions.load, pools))
    loads = dict(zip(pools, found, strict=True))
    return {
        "models": [
            {
                "model_id": card.model_id,
                "family": card.family,
                "licence": card.licence,
                "limits": card.limits.model_dump(),
                "is_default": card.model_id == door.model.model_id,
                "has_worker": loads[card.pool].slots > 0,
                "is_paused": loads[card.pool].is_paused,
            }
            for card in door.registry
        ]
    }


@router.post(
    "/uploads",
    status_code=201,
    openapi_extra=json_body({"content_type": "image/png", "size": 123456}, _UPLOAD_BODY),
    responses=answers("invalid_field", s201=_UPLOAD),
)
async def make_upload(fields: Json, _: HeaderSubmitter, door: FrontDoor) -> dict[str, Any]:
    """Room for an image: PUT it to `put.url` with these headers, then start from `url`."""
    content_type, size = fields.get("content_type"), fields.get("size", 0)
    kinds = {content_type: kind for kind, content_type in CONTENT_TYPES.items()}
    if not isinstance(content_type, str) or content_type not in kinds:
        raise InvalidFields.of("content_type", f"must be one of {', '.join(kinds)}")
    most = door.settings.image_bytes
    if type(size) not in (int, float) or size % 1 or not 1 <= size <= most:
        raise InvalidFields.of("size", f"must be the image's bytes, 1 to {most}")
    key = upload_key(kinds[content_type].lower())
    return {
        "url": f"{door.settings.public_url.rstrip('/')}/{key}",
        "put": {
            "url": door.store.upload_link(key, content_type, int(size)),
            "headers": {"Content-Type": content_type, "Content-Length": str(int(size))},
            "expires_in": int(UPLOAD_TIME.total_seconds()),
        },
    }


@router.get("/errors/{code}")
async def explain_error(code: str) -> dict[str, Any]:
    """What an error's `code` means; every error of `/v1` links to its own."""
    if code not in ERRORS:
        raise HTTPException(404)
    status, meaning = ERRORS[code]
    return {"code": code, "status": status, "meaning": meaning}
