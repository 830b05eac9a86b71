"""API key -> tenant."""

import time
from collections import Counter
from typing import Any

from fastapi import Request

from api.errors import InvalidKey, TooManyRequests
from shared.tenants import Tenant

MINUTE = 60


class Failures:
    """Wrong keys of this minute, by the address that they came from."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._minute = 0
        self._counts: Counter[str] = Counter()

    def refusal(self, address: str, *, given: bool) -> InvalidKey | TooManyRequests:
        """What to answer to one more."""
        minute, second = divmod(int(time.time()), MINUTE)
        if minute != self._minute:
            self._minute, self._counts = minute, Counter()
        self._counts[address] += 1
        if self._counts[address] > self._most:
            return TooManyRequests(self._most, "minute", retry_after=MINUTE - second)
        return InvalidKey(given=given)


async def by_header(request: Request) -> Tenant:
    """Whose request it is, by its headers alone; raises as `authenticate` does."""
    return await authenticate(request, *_in_headers(request))


async def by_header_or_query(request: Request) -> Tenant | None:
    """Whose it is as far as shows before its body is read; None when no key came by then."""
    keys = _beside_the_body(request)
    return await authenticate(request, *keys) if any(keys) else None


async def by_any(request: Request, in_body: Any) -> Tenant:
    """Whose it is, by the key in its body and those beside it; raises as `authenticate` does."""
    return await authenticate(request, in_body, *_beside_the_body(request))


async def authenticate(request: Request, *keys: Any) -> Tenant:
    """Whose request it is, by the keys that came with it; two that differ are nobody's.

    Raises InvalidKey, and TooManyRequests for the address that sends too many wrong ones.
    """
    state = request.app.state
    given = {key if isinstance(key, str) else None for key in keys if key not in (None, "")}
    if len(given) == 1 and (key := given.pop()) is not None:
        tenant: Tenant | None = state.tenants.of_key(key)
        if tenant := tenant or await state.keyring.of_key(key, state.tenants):
            return tenant
    address = request.client.host if request.client else ""
    raise state.failures.refusal(address, given=any(keys))


def _beside_the_body(request: Request) -> tuple[str | None, ...]:
    return request.query_params.get("key"), *_in_headers(request)


def _in_headers(request: Request) -> tuple[str | None, ...]:
    headers = request.headers
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    return headers.get("key"), headers.get("x-api-key"), bearer
