"""What holds for every request and every answer, whatever is asked."""

from collections.abc import Callable

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError, HeadTooLarge

MOST_HEAD = 64 * 2**10
"""Bytes of an address and its headers: what servers commonly take."""
ALWAYS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
UNLESS_SAID = {"Cache-Control": "no-store"}
"""Answers have results in them, and those are their owner's."""


class Edge:
    """ASGI middleware: the same headers on every answer, and no endless heads."""

    def __init__(self, app: ASGIApp, answer: Callable[[Request, ApiError], Response]) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_missing(message["headers"])]
            await send(message)

        if scope["type"] == "http" and _head(scope) > MOST_HEAD:
            refusal = self._answer(Request(scope), HeadTooLarge(MOST_HEAD))
            await refusal(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


def _head(scope: Scope) -> int:
    lines: list[tuple[bytes, bytes]] = scope["headers"]
    address = len(scope["path"]) + len(scope["query_string"])
    return address + sum(len(name) + len(value) for name, value in lines)


def _missing(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    there = {name for name, _ in headers}
    return [(name, value) for name, value in _SENT if name not in there]


_SENT = [(name.lower().encode(), value.encode()) for name, value in (ALWAYS | UNLESS_SAID).items()]
