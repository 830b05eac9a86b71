"""Make images, by each version's paths, and hand out the finished ones."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Annotated, Any, TypeVar, TypeVarTuple

from fastapi import APIRouter, Header, HTTPException, Response

from api.dependencies import Fields, FrontDoor, Submitter
from api.dialects import DIALECTS, Dialect, Kind
from api.terms import Wishes
from shared.object_store import OUTPUT_FOLDERS, ObjectStore, StoredObject, possible_keys

router = APIRouter(tags=["images"])

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
NO_IMAGE = "No such image, or it has expired"
LOOKING = ThreadPoolExecutor(4, "looking")
"""Reads what anybody may ask for, and as often: submissions do not wait behind it."""

ANSWERS = "Answers `success` when it is done in time, else `processing`."
WHAT: dict[Kind, str] = {
    "text2img": "Paint from a text.",
    "img2img": "Paint over an image.",
    "inpaint": "Paint where a mask is white.",
}


def asked_wait(prefer: str | None) -> float | None:
    """Seconds that a Prefer header asks for (RFC 7240); None when it says nothing of waiting."""
    preferences = (prefer or "").lower().replace(";", ",").split(",")
    asked = dict(preference.strip().partition("=")[::2] for preference in preferences)
    # Together they mean: answer asynchronously, but only after so long.
    if (seconds := asked.get("wait", "")).isdecimal():
        return float(seconds[:9])
    return 0 if "respond-async" in asked else None


def _makes(kind: Kind, dialect: Dialect) -> Callable[..., Awaitable[dict[str, Any]]]:
    async def make(
        fields: Fields,
        tenant: Submitter,
        door: FrontDoor,
        prefer: Annotated[str | None, Header()] = None,
        idempotency_key: Annotated[str, Header(max_length=255)] = "",
    ) -> dict[str, Any]:
        wishes = Wishes(asked_wait(prefer), idempotency_key)
        return door.answer(*await door.submit(fields, tenant, dialect, kind, wishes))

    return make


for _dialect in DIALECTS.values():
    for _path, _kind in _dialect.kinds.items():
        router.add_api_route(
            f"{_dialect.prefix}{_path}",
            _makes(_kind, _dialect),
            methods=["POST"],
            name=f"{_kind} ({_dialect.name})",
            description=f"{WHAT[_kind]} {ANSWERS}",
        )


def _serves(folder: str) -> Callable[..., Awaitable[Response]]:
    async def output(name: str, door: FrontDoor) -> Response:
        """A finished image. Its name is the permission to read it."""
        keys = possible_keys(folder, name, attempts=door.settings.max_attempts)
        return image_response(await looked_up(_first, door.store, keys))

    return output


for _folder in OUTPUT_FOLDERS:
    for _method in ("GET", "HEAD"):
        router.add_api_route(
            f"/{_folder}/{{name}}",
            _serves(_folder),
            methods=[_method],
            response_class=Response,
            include_in_schema=_method == "GET",
            name=f"output ({_folder})",
        )


async def looked_up(look: Callable[[*Ts], T], *args: *Ts) -> T:
    """What this finds in the store, by a few threads of its own."""
    return await asyncio.get_running_loop().run_in_executor(LOOKING, look, *args)


def image_response(stored: StoredObject) -> Response:
    """An object as a browser may show it."""
    headers = {"Cache-Control": "private, max-age=86400"}
    return Response(stored.body, media_type=stored.content_type, headers=headers)


def _first(store: ObjectStore, keys: list[str]) -> StoredObject:
    for key in keys:
        with suppress(FileNotFoundError):
            return store.get(key)
    raise HTTPException(404, NO_IMAGE)
