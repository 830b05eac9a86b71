"""Remove images, for their owner."""

import asyncio
from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter

from api.dependencies import Fields, FrontDoor, Submitter
from api.door import Door
from api.errors import InvalidFields, NotFinished, NotFound
from api.routes.images import looked_up
from api.routes.jobs import JOB_ID
from shared.jobs import JobRecord
from shared.object_store import OUTPUT_FOLDERS, ObjectStore, output_keys, possible_keys

router = APIRouter(tags=["images"])


@router.post("/api/v3/delete_image")
async def delete_image(fields: Fields, tenant: Submitter, door: FrontDoor) -> dict[str, Any]:
    """Remove all images of a request (`request_id`), or one by its name or link (`image`).

    As long as the request can be fetched; afterwards nobody knows whose they are.
    """
    if (kind := fields.get("type", "image")) != "image":
        raise InvalidFields.of("type", f"must be image, got {str(kind)[:40]!a}")
    if ("request_id" in fields) == ("image" in fields):
        raise InvalidFields.of("request_id", "or image must be given, and not both")
    if "image" in fields:
        record, index = await _by_name(str(fields["image"]), tenant.tenant, door)
        await _delete(record, [index], door)
    else:
        record = await _by_id(str(fields["request_id"]), tenant.tenant, door)
        await _delete(record, range(record.job.params.samples), door)
    message = "image deleted"
    return {"status": "success", "message": message, "messege": message}


async def _by_id(job_id: str, tenant: str, door: Door) -> JobRecord:
    known = JOB_ID.fullmatch(job_id)
    if not known or not (record := await door.submissions.find(int(job_id), tenant)):
        raise NotFound("Request")
    return record


async def _by_name(image: str, tenant: str, door: Door) -> tuple[JobRecord, int]:
    """The request that an image belongs to, and which of its images it is."""
    name = image.partition("?")[0].rpartition("/")[2]
    attempts = door.settings.max_attempts
    keys = [key for f in OUTPUT_FOLDERS for key in possible_keys(f, name, attempts=attempts)]
    job_id = await looked_up(_job_of, door.store, keys)
    record = job_id and await door.submissions.find(job_id, tenant)
    if not record:
        raise NotFound("Image")
    return record, int(name.rpartition("-")[2].partition(".")[0])


def _job_of(store: ObjectStore, keys: list[str]) -> int | None:
    return next((job_id for key in keys if (job_id := store.job_of(key))), None)


async def _delete(record: JobRecord, indices: Iterable[int], door: Door) -> None:
    if not record.state.is_final:
        raise NotFinished
    # What lost attempts left behind, too: their names lead to the same images.
    attempts = [output_keys(record.job, number) for number in range(1, 1 + record.generation)]
    keys = [keys[index] for index in indices for keys in attempts]
    await asyncio.to_thread(door.store.delete, keys)
    await door.submissions.note_deleted(record.job.id, keys)
