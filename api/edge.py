"""What holds for every request and every answer, whatever is asked."""

import logging
from collections.abc import Callable

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import ApiError, Fault, HeadTooLarge

log = logging.getLogger(__name__)

MOST_HEAD = 64 * 2**10
"""Bytes of an address and its headers: what servers commonly take."""
ALWAYS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
UNLESS_SAID = {"Cache-Control": "no-store"}
"""Answers have results in them, and those are their owner's."""


class Edge:
    """ASGI middleware: the same headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_missing(message["headers"])]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class Backstop:
    """ASGI middleware: no endless heads, and an answer whatever breaks behind it.

    The framework's own answer to a fault would go out past the other middleware.
    """

    def __init__(self, app: ASGIApp, answer: Callable[[Request, ApiError], Response]) -> None:
        self._app = app
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        has_begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        async def refuse(error: ApiError) -> None:
            await self._answer(Request(scope), error)(scope, receive, send)

        if scope["type"] == "http" and _head(scope) > MOST_HEAD:
            await refuse(HeadTooLarge(MOST_HEAD))
            return
        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            if has_begun or scope["type"] != "http":
                raise
            log.error("unexpected error", exc_info=error)
            await refuse(Fault("Internal server error. Please try again."))


def _head(scope: Scope) -> int:
    lines: list[tuple[bytes, bytes]] = scope["headers"]
    address = len(scope["path"]) + len(scope["query_string"])
    return address + sum(len(name) + len(value) for name, value in lines)


def _missing(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    there = {name for name, _ in headers}
    return [(name, value) for name, value in _SENT if name not in there]


_SENT = [(name.lower().encode(), value.encode()) for name, value in (ALWAYS | UNLESS_SAID).items()]
