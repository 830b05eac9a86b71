"""Take an image that a later request starts from."""

import asyncio
import re
from typing import Any

from fastapi import APIRouter, HTTPException, Response

from api.dependencies import Fields, FrontDoor, Submitter
from api.dialects import ENTERPRISE
from api.errors import REQUIRED, InvalidFields
from api.images import decode_base64
from api.routes.images import image_response, looked_up
from shared.images import CONTENT_TYPES, sniff
from shared.jobs import new_job_id
from shared.object_store import upload_key

router = APIRouter(tags=["uploads"])

NAMES = ("image", "base64_image", "base64_string", "init_image")
"""The field that holds the image, by whichever version."""
MOST_BYTES = 5 * 2**20
NO_UPLOAD = "No such upload, or it has expired"
UPLOAD_NAME = re.compile(r"[0-9a-f]{32}\.(png|jpeg|webp)")


async def upload(fields: Fields, _: Submitter, door: FrontDoor) -> dict[str, Any]:
    """Store a base64 image of at most 5 MB; the link works in `init_image` and `mask_image`."""
    field = next((name for name in NAMES if name in fields), NAMES[0])
    if field not in fields:
        raise InvalidFields.of(field, REQUIRED)
    if not isinstance(image := fields[field], str):
        raise InvalidFields.of(field, "must be a string")
    try:
        data = decode_base64(image, most=MOST_BYTES)
    except ValueError as error:
        raise InvalidFields.of(field, str(error)) from None
    kind = sniff(data)
    assert kind is not None
    key = upload_key(kind.lower())
    await asyncio.to_thread(door.store.put, key, data, CONTENT_TYPES[kind])
    (link,) = door.store.links([key])
    job_id = new_job_id()
    return {
        "status": "success",
        "messege": "image uploaded",
        "message": "image uploaded",
        "id": job_id,
        "request_id": job_id,
        "link": link,
        "output": [link],
    }


for _path in (
    "/api/v3/base64_crop",
    "/api/v6/base64_to_url",
    "/api/v6/image_editing/base64_to_url",
    *(f"{prefix}/upload_image" for prefix in ENTERPRISE),
):
    router.add_api_route(_path, upload, methods=["POST"])


@router.head("/uploads/{name}", include_in_schema=False)
@router.get("/uploads/{name}", response_class=Response)
async def uploaded(name: str, door: FrontDoor) -> Response:
    """An uploaded image. Its name is the permission to read it."""
    if not UPLOAD_NAME.fullmatch(name):
        raise HTTPException(404, NO_UPLOAD)
    try:
        stored = await looked_up(door.store.open, f"uploads/{name}")
    except FileNotFoundError:
        raise HTTPException(404, NO_UPLOAD) from None
    return image_response(stored, door.settings)
