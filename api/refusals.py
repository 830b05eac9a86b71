"""The handlers that answer with a refusal, whatever raised it."""

import logging
from functools import partial
from http import HTTPStatus
from secrets import token_hex

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from api.config import ApiSettings
from api.dialects import V1, dialect_of
from api.edge import Backstop
from api.errors import ApiError, InvalidFields, Unavailable, always_200
from api.requests import reason
from shared.object_store import STORE_ERRORS

log = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


def install(app: FastAPI, settings: ApiSettings) -> None:
    """Answer every refusal and every fault with a body of the public API, or of our own."""
    answer = partial(_answer, settings=settings)
    app.add_middleware(Backstop, answer=answer)

    async def refused(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, ApiError)
        return answer(request, error)

    async def away(request: Request, error: Exception) -> JSONResponse:
        log.error("a system behind the door refuses", extra={"error": repr(error)[:300]})
        return answer(request, Unavailable())

    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        refusal = ApiError(str(error.detail))
        refusal.code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        response = answer(request, refusal, error.status_code)
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["Allow"] = ", ".join(_allowed(request))
        return response

    async def invalid(request: Request, error: Exception) -> JSONResponse:
        # The framework's own answer would repeat the whole request, key and images too.
        assert isinstance(error, RequestValidationError)
        reasons = {str(e["loc"][-1]): [reason(e)] for e in error.errors()}
        return answer(request, InvalidFields(reasons))

    app.add_exception_handler(ApiError, refused)
    for kind in (RedisError, *STORE_ERRORS):
        app.add_exception_handler(kind, away)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)


def _allowed(request: Request) -> list[str]:
    """Methods of a path, of which each has a route of its own."""
    tried = {method: {**request.scope, "method": method} for method in METHODS}
    routes = request.app.router.routes
    return [
        method
        for method, scope in tried.items()
        if any(route.matches(scope)[0] is Match.FULL for route in routes)
    ]


def _answer(
    request: Request, error: ApiError, status: int | None = None, *, settings: ApiSettings
) -> JSONResponse:
    dialect, status = dialect_of(request.url.path), status or error.status
    if dialect is V1:
        return _modern_answer(error, status, settings.public_url)
    if always_200(request, settings.errors_as_200):
        status = 200
    return JSONResponse(error.body(dialect), status, headers=error.headers)


def _modern_answer(error: ApiError, status: int, public_url: str) -> JSONResponse:
    request_id = f"req_{token_hex(8)}"
    log.info("refused", extra={"request_id": request_id, "code": error.code})
    headers = error.headers | {"X-Request-Id": request_id}
    return JSONResponse(error.v1_body(request_id, public_url), status, headers=headers)
