"""A request's fields, whichever way they came: JSON body, form, or query string."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.types import Message

from api.errors import BodyTooLarge, BodyTooSlow, Unavailable, UnreadableBody

ABSENT = (None, "", "null")
"""Clients send all three for a field that they do not set."""


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


class Fields(dict[str, Any]):
    """A request's fields, and the room they take until they are cleared."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        self._room, self._taken = room, 0

    def take(self, size: int) -> None:
        """Take room for so many bytes more."""
        self._room.take(size)
        self._taken += size

    def clear(self) -> None:
        """Forget them, and give their room back."""
        super().clear()
        self._room.used -= self._taken
        self._taken = 0


async def read_fields(request: Request) -> AsyncIterator[dict[str, Any]]:
    """The fields that are set; the body's win over the query string's.

    Raises UnreadableBody for a body that is neither a JSON object nor a form, BodyTooLarge,
    BodyTooSlow, and Unavailable when all bodies together take too much.
    """
    fields = Fields(request.app.state.room)
    try:
        fields |= _set(request.query_params) | _set(await _body(request, fields))
        yield fields
    finally:
        fields.clear()


async def read_json(request: Request) -> AsyncIterator[dict[str, Any]]:
    """The JSON object in the body, without what is null in it; raises as `read_fields` does."""
    fields = Fields(request.app.state.room)
    try:
        body = await _bytes(request, fields)
        given = _json(body) if body else {}
        fields |= {name: value for name, value in given.items() if value is not None}
        yield fields
    finally:
        fields.clear()


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ABSENT}


async def _body(request: Request, fields: Fields) -> Mapping[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        most = request.app.state.settings.max_body
        try:
            form = await _limited(request, fields).form(max_part_size=most)
        except UnicodeError:  # it may name any encoding
            raise UnreadableBody from None
        return {name: value for name, value in form.items() if isinstance(value, str)}
    body = await _bytes(request, fields)
    # curl calls whatever it sends a form.
    if kind == "application/x-www-form-urlencoded" and not body.startswith(b"{"):
        return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    return _json(body) if body else {}


async def _bytes(request: Request, fields: Fields) -> bytes:
    # Not `body()`, which would keep it as long as the caller waits.
    return b"".join([chunk async for chunk in _limited(request, fields).stream()]).strip()


def _json(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableBody from None
    if not isinstance(fields, dict):
        raise UnreadableBody
    return fields


def _limited(request: Request, fields: Fields) -> Request:
    """The same request, which raises as soon as too much comes, too slowly, or for too many."""
    settings = request.app.state.settings
    began, came = asyncio.get_running_loop().time(), 0

    async def receive() -> Message:
        nonlocal came
        seconds = settings.body_time.total_seconds() + came / settings.body_rate
        try:
            async with asyncio.timeout_at(began + seconds):
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
