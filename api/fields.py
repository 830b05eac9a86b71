"""A request's fields, whichever way they came: JSON body, form, or query string."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.types import Message

from api.errors import BodyTooLarge, UnreadableBody

ABSENT = (None, "", "null")
"""Clients send all three for a field that they do not set."""


async def read_fields(request: Request) -> dict[str, Any]:
    """The fields that are set; the body's win over the query string's.

    Raises UnreadableBody for a body that is neither a JSON object nor a form, BodyTooLarge.
    """
    return _set(request.query_params) | _set(await _body(request))


async def read_json(request: Request) -> dict[str, Any]:
    """The JSON object in the body, without what is null in it; raises as `read_fields` does."""
    body = await _bytes(request)
    fields = _json(body) if body else {}
    return {name: value for name, value in fields.items() if value is not None}


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value not in ABSENT}


async def _body(request: Request) -> Mapping[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        most = request.app.state.settings.max_body
        try:
            form = await _limited(request, most).form(max_part_size=most)
        except UnicodeError:  # it may name any encoding
            raise UnreadableBody from None
        return {name: value for name, value in form.items() if isinstance(value, str)}
    body = await _bytes(request)
    # curl calls whatever it sends a form.
    if kind == "application/x-www-form-urlencoded" and not body.startswith(b"{"):
        return dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
    return _json(body) if body else {}


async def _bytes(request: Request) -> bytes:
    limited = _limited(request, request.app.state.settings.max_body)
    # Not `body()`, which would keep it as long as the caller waits.
    return b"".join([chunk async for chunk in limited.stream()]).strip()


def _json(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableBody from None
    if not isinstance(fields, dict):
        raise UnreadableBody
    return fields


def _limited(request: Request, most: int) -> Request:
    """The same request, which raises as soon as more than `most` bytes are announced or come."""
    came = 0

    async def receive() -> Message:
        nonlocal came
        message = await request.receive()
        came += len(message.get("body", b""))
        if came > most:
            raise BodyTooLarge(most)
        return message

    if int(request.headers.get("content-length", 0)) > most:
        raise BodyTooLarge(most)
    return Request(request.scope, receive)
