"""The way to the endpoints that are asked most, past the framework's search and injection.

Those cost more than all the rest. The routes behind it stay: they are what is documented, and what
is out of the ordinary takes them.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from api.fields import HeldFields
from shared.tenants import Tenant

LONGEST = 255
"""Characters of a header that is surely allowed."""

Admit = Callable[[Request, HeldFields], Awaitable[Tenant]]
"""Reads a request's fields into these; whose request it is, or an ApiError."""


@dataclass(frozen=True, slots=True)
class _Call:
    """How an endpoint that takes `fields`, `tenant`, `door` and headers is called."""

    route: APIRoute
    admit: Admit

    async def answer(self, request: Request) -> Response:
        fields = HeldFields(request.app.state.lobby)
        try:
            tenant = await self.admit(request, fields)
            door, headers = request.app.state.door, self._headers(request)
            answer = await self.route.endpoint(fields, tenant, door, **headers)
        finally:
            fields.clear()
        if isinstance(answer, Response):
            return answer
        return Response(to_json(answer), media_type="application/json")

    def _headers(self, request: Request) -> dict[str, str | None]:
        get, wanted = request.headers.get, self.route.dependant.header_params
        return {header.name: get(header.alias, header.default) for header in wanted}


class Shortcut(BaseRoute):
    """To all that is posted to the routes of some routers, by prefix; it comes before them."""

    def __init__(self, routers: Iterable[tuple[str, APIRouter, Admit]]) -> None:
        self._calls = {
            f"{prefix}{route.path}": _Call(route, admit)
            for prefix, router, admit in routers
            for route in router.routes
            if isinstance(route, APIRoute) and route.methods == {"POST"}
        }

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """See starlette."""
        call = self._calls.get(scope["path"]) if scope["type"] == "http" else None
        if call is None or scope["method"] != "POST" or _has_long(scope["headers"]):
            return Match.NONE, {}
        return Match.FULL, {"endpoint": call.route.endpoint, "path_params": {}}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See starlette."""
        response = await self._calls[scope["path"]].answer(Request(scope, receive, send))
        await response(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """The routes behind it have the names; see starlette."""
        raise NoMatchFound(name, path_params)


def _has_long(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(len(value) > LONGEST for _, value in headers)
