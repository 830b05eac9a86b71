"""A request's fields, whichever way they came: JSON body, form, or query string."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Request
from starlette.types import Message

from api.auth import by_header, by_header_or_query
from api.errors import BodyTooLarge, BodyTooSlow, Unavailable, UnreadableBody
from shared.tenants import Tenant

ABSENT = (None, "", "null")
"""Clients send all three for a field that they do not set."""
FREE = 2**16
"""Bytes of each body that are not counted: the server holds as much of each connection anyway."""
MOST_BRACKETS, MOST_COMMAS = 10_000, 100_000
"""In JSON: millions would take seconds, in which nobody is answered, and gigabytes."""
MOST_FORM_FIELDS = 1000
"""As starlette has it for multipart forms."""
MOST_ESCAPES = 1_200_000
"""In a form that is no multipart one: as much base64 as a body may hold has fewer."""


@dataclass(slots=True)
class Room:
    """What the bodies of all requests that are being read or stored may hold, in bytes."""

    most: int
    used: int = 0

    def take(self, size: int) -> None:
        """Raises Unavailable when there is no room."""
        if self.used + size > self.most:
            raise Unavailable
        self.used += size


class HeldFields(dict[str, Any]):
    """A request's fields, and the room they take until they are cleared."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        self._room, self._came, self._taken = room, 0, 0

    def take(self, size: int) -> None:
        """Take room for so many bytes more."""
        self._came += size
        more = max(0, self._came - FREE) - self._taken
        self._room.take(more)
        self._taken += more

    def move(self, room: Room) -> None:
        """Take other room instead."""
        room.take(self._taken)
        self._room.used -= self._taken
        self._room = room

    def clear(self) -> None:
        """Forget them, and give their room back."""
        super().clear()
        self._room.used -= self._taken
        self._taken = 0


# What reads a body asks for them first: it reads nothing of who comes with a wrong key.
Known = Annotated[Tenant | None, Depends(by_header_or_query)]
KnownByHeader = Annotated[Tenant, Depends(by_header)]


async def read_fields(request: Request, tenant: Known) -> AsyncIterator[HeldFields]:
    """The fields that are set; the body's win over the query string's.

    Raises UnreadableBody for a body that is neither a JSON object nor a form, BodyTooLarge,
    BodyTooSlow, and Unavailable when all bodies together take too much.
    """
    state = request.app.state
    fields = HeldFields(state.room if tenant else state.lobby)
    try:
        await fill(fields, request)
        yield fields
    finally:
        fields.clear()


async def fill(fields: HeldFields, request: Request) -> None:
    """Read a request's fields into these; raises as `read_fields` does."""
    fields |= _set(request.query_params) | _set(await _body(request, fields))


async def read_json(request: Request, _: KnownByHeader) -> AsyncIterator[HeldFields]:
    """The JSON object in the body, without what is null in it; raises as `read_fields` does."""
    fields = HeldFields(request.app.state.room)
    try:
        await fill_from_json(fields, request)
        yield fields
    finally:
        fields.clear()


async def fill_from_json(fields: HeldFields, request: Request) -> None:
    """Read the JSON object in the body into these; raises as `read_fields` does."""
    # Without names for the body and what is in it: they would be kept while the caller waits.
    fields |= _not_null(_json(await _bytes(request, fields)))


def _not_null(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ABSENT}


async def _body(request: Request, fields: HeldFields) -> Mapping[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        most = request.app.state.settings.max_body
        try:
            async with _limited(request, fields).form(max_part_size=most) as form:
                return {name: value for name, value in form.items() if isinstance(value, str)}
        except UnicodeError:  # it may name any encoding
            raise UnreadableBody from None
    body = await _bytes(request, fields)
    # curl calls whatever it sends a form.
    if kind == "application/x-www-form-urlencoded" and not body.startswith(b"{"):
        return _form(body)
    return _json(body)


async def _bytes(request: Request, fields: HeldFields) -> bytes:
    # Not `body()`, which would keep it as long as the caller waits.
    return b"".join([chunk async for chunk in _limited(request, fields).stream()]).strip()


def _form(body: bytes) -> dict[str, str]:
    if body.count(b"&") >= MOST_FORM_FIELDS or body.count(b"%") > MOST_ESCAPES:
        raise UnreadableBody(
            f"The form must have at most {MOST_FORM_FIELDS} fields and {MOST_ESCAPES} escapes"
        )
    # The standard library's way takes a text apart wherever it is no ASCII.
    pairs = (pair.partition(b"=") for pair in body.split(b"&") if pair)
    return {_unescaped(name): _unescaped(value) for name, _, value in pairs}


def _unescaped(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode(errors="replace")


def _json(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    # Base64 has none of them.
    if body.count(b"[") + body.count(b"{") > MOST_BRACKETS or body.count(b",") > MOST_COMMAS:
        raise UnreadableBody(
            f"The JSON must have at most {MOST_BRACKETS} brackets and {MOST_COMMAS} commas"
        )
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableBody from None
    if not isinstance(fields, dict):
        raise UnreadableBody
    return fields


def _limited(request: Request, fields: HeldFields) -> Request:
    """The same request, which raises as soon as too much comes, too slowly, or for too many."""
    settings = request.app.state.settings
    clock, most = asyncio.get_running_loop().time, settings.body_time.total_seconds()
    began, came = clock(), 0

    async def receive() -> Message:
        nonlocal came
        # What came fast buys no time to say nothing.
        seconds = min(most, began + most + came / settings.body_rate - clock())
        try:
            async with asyncio.timeout(seconds):
                message = await request.receive()
        except TimeoutError:
            raise BodyTooSlow from None
        size = len(message.get("body", b""))
        came += size
        if came > settings.max_body:
            raise BodyTooLarge(settings.max_body)
        fields.take(size)
        return message

    if int(request.headers.get("content-length", 0)) > settings.max_body:
        raise BodyTooLarge(settings.max_body)
    return Request(request.scope, receive)
