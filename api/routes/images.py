"""Make images, and hand out the finished ones."""

import asyncio
import re
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Response

from api.dependencies import Caller, Fields, FrontDoor
from api.dialects import V3
from api.requests import Img2ImgRequest

router = APIRouter(tags=["images"])

OUTPUT_NAME = re.compile(r"[0-9a-f-]{36}-[0-9]{1,3}\.(png|base64)")
NO_IMAGE = "No such image, or it has expired"

_SCHEMA = Img2ImgRequest.model_json_schema(by_alias=False)
_SCHEMA["properties"] |= {"key": {"type": "string", "description": "API key"}}
_EXAMPLE = {
    "key": "YOUR_KEY",
    "prompt": "a cat sitting on a bench",
    "init_image": "https://example.com/cat.png",
    "width": "512",
    "height": "512",
    "samples": "1",
    "num_inference_steps": "30",
    "strength": 0.7,
    "guidance_scale": 7.5,
    "seed": None,
    "webhook": None,
    "track_id": None,
}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _SCHEMA, "example": _EXAMPLE},
            "application/x-www-form-urlencoded": {"schema": _SCHEMA},
        },
    }
}


def asked_wait(prefer: str | None) -> float | None:
    """Seconds that a Prefer header asks for (RFC 7240); None when it says nothing of waiting."""
    preferences = (prefer or "").lower().replace(";", ",").split(",")
    asked = dict(preference.strip().partition("=")[::2] for preference in preferences)
    # Together they mean: answer asynchronously, but only after so long.
    if (seconds := asked.get("wait", "")).isdecimal():
        return float(seconds[:9])
    return 0 if "respond-async" in asked else None


@router.post("/api/v3/img2img", openapi_extra=_BODY)
async def img2img(
    fields: Fields,
    tenant: Caller,
    door: FrontDoor,
    prefer: Annotated[str | None, Header()] = None,
    idempotency_key: Annotated[str, Header(max_length=255)] = "",
) -> dict[str, Any]:
    """Paint over an image. Answers `success` when it is done in time, else `processing`."""
    return await door.submit(
        fields, tenant, V3, wait=asked_wait(prefer), idempotency_key=idempotency_key
    )


@router.head("/generations/{name}", include_in_schema=False)
@router.get("/generations/{name}", response_class=Response)
async def generation(name: str, door: FrontDoor) -> Response:
    """A finished image. Its name is the permission to read it."""
    if not OUTPUT_NAME.fullmatch(name):
        raise HTTPException(404, NO_IMAGE)
    try:
        stored = await asyncio.to_thread(door.store.get, f"generations/{name}")
    except FileNotFoundError:
        raise HTTPException(404, NO_IMAGE) from None
    headers = {"Cache-Control": "private, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response(stored.body, media_type=stored.content_type, headers=headers)
