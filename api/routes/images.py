"""Make images, by each version's paths, and hand out the finished ones."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Annotated, Any, TypeVar, TypeVarTuple

from fastapi import APIRouter, Header, HTTPException, Response
from starlette.types import Message, Receive, Scope, Send

from api.config import ApiSettings
from api.dependencies import Fields, FrontDoor, Submitter
from api.dialects import DIALECTS, Dialect, Kind
from api.terms import Wishes
from shared.object_store import OUTPUT_FOLDERS, ObjectStore, OpenObject, possible_keys

router = APIRouter(tags=["images"])

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
NO_IMAGE = "No such image, or it has expired"
LOOKING, READING = ThreadPoolExecutor(4, "looking"), ThreadPoolExecutor(4, "reading")
"""For what anybody may ask for, and as often: submissions do not wait behind it, and images that
are being sent do not wait for those that are only looked for."""
PIECE = 2**17
"""Bytes that are read at a time."""

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
        return image_response(await looked_up(_first, door.store, keys), door.settings)

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


def image_response(image: OpenObject, settings: ApiSettings) -> Response:
    """An object as a browser may show it; closes it."""
    most = settings.body_time.total_seconds() + image.size / settings.body_rate
    return _Sent(image, seconds=most)


class _Sent(Response):
    """An object, sent as it is read: who takes it slowly holds a piece of it, and not for ever."""

    def __init__(self, image: OpenObject, seconds: float) -> None:
        headers = {"Cache-Control": "private, max-age=86400", "Content-Length": str(image.size)}
        super().__init__(media_type=image.content_type, headers=headers)
        self._image, self._seconds = image, seconds

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """See starlette."""
        body = "http.response.body"
        loop, left = asyncio.get_running_loop(), self._image.size

        async def send_in_time(message: Message) -> None:
            began = loop.time()
            async with asyncio.timeout(self._seconds):
                await send(message)
            self._seconds -= loop.time() - began

        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            # The server ends a connection on which not all has been said.
            with suppress(TimeoutError):
                while scope["method"] != "HEAD" and left > 0:
                    piece = await loop.run_in_executor(READING, self._image.read, PIECE)
                    if not piece:
                        break
                    await send_in_time({"type": body, "body": piece, "more_body": True})
                    left -= len(piece)
                await send_in_time({"type": body})
        finally:
            READING.submit(self._image.close)  # where it is still read it waits for that


def _first(store: ObjectStore, keys: list[str]) -> OpenObject:
    for key in keys:
        with suppress(FileNotFoundError):
            return store.open(key)
    raise HTTPException(404, NO_IMAGE)
