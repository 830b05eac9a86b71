"""A request's fields, whichever way they came: JSON body, form, or query string."""

import json
from typing import Any

from fastapi import Request

from api.errors import UnreadableBody

ABSENT = (None, "", "null")
"""Clients send all three for a field that they do not set."""


async def read_fields(request: Request) -> dict[str, Any]:
    """The fields that are set; the body's win over the query string's.

    Raises UnreadableBody for a body that is neither a JSON object nor a form.
    """
    fields = dict(request.query_params) | await _body(request)
    return {name: value for name, value in fields.items() if value not in ABSENT}


async def _body(request: Request) -> dict[str, Any]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        form = await request.form(max_part_size=request.app.state.settings.max_body)
        return {name: value for name, value in form.items() if isinstance(value, str)}
    # Not `request.body()`, which would keep it as long as the caller waits.
    body = b"".join([chunk async for chunk in request.stream()])
    if not body.strip():
        return {}
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableBody from None
    if not isinstance(fields, dict):
        raise UnreadableBody
    return fields
