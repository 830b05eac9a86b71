"""What a route may ask for, as Annotated aliases."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from api.auth import by_any, by_header, by_header_or_query
from api.door import Door
from api.errors import NotAllowed, TooManyRequests
from api.fields import (
    HeldFields,
    Known,
    KnownByHeader,
    fill,
    fill_from_json,
    read_fields,
    read_json,
)
from shared.tenants import Scope, Tenant


# Coroutines, though they wait for nothing: plain functions would each cost a trip to a thread.
async def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


FrontDoor = Annotated[Door, Depends(_door)]
Fields = Annotated[HeldFields, Depends(read_fields)]
# It only shows in the documentation that a token is needed.
_Shown = Annotated[Any, Depends(HTTPBearer(auto_error=False, scheme_name="key"))]


@dataclass(frozen=True)
class ByField:
    """The caller, by the field `key` or a header; raises NotAllowed for a key without the scope."""

    scope: Scope

    async def __call__(self, request: Request, known: Known, fields: Fields) -> Tenant:
        """See above; raises InvalidKey and TooManyRequests, too."""
        key = fields.get("key")
        # Who is known has shown no other key beside the body.
        tenant = known if known and key is None else await by_any(request, key)
        if known is None:
            fields.move(request.app.state.room)
        return await _admit(request, tenant, self.scope)

    async def direct(self, request: Request, fields: HeldFields) -> Tenant:
        """The same, and fills the fields: for a `Shortcut`."""
        if known := await by_header_or_query(request):
            fields.move(request.app.state.room)
        await fill(fields, request)
        return await self(request, known, fields)


@dataclass(frozen=True)
class ByHeader:
    """As `ByField`, by headers alone."""

    scope: Scope

    async def __call__(self, request: Request, tenant: KnownByHeader, _: _Shown) -> Tenant:
        """As `ByField`."""
        return await _admit(request, tenant, self.scope)

    async def direct(self, request: Request, fields: HeldFields) -> Tenant:
        """As `ByField`; the fields are JSON."""
        tenant = await by_header(request)
        fields.move(request.app.state.room)
        await fill_from_json(fields, request)
        return await _admit(request, tenant, self.scope)


async def _admit(request: Request, tenant: Tenant, scope: Scope) -> Tenant:
    request.state.tenant = tenant
    if scope not in tenant.scopes:
        raise NotAllowed(scope)
    if most := tenant.most_requests:
        door: Door = request.app.state.door
        if wait := await door.submissions.seconds_to_wait(tenant.key_id, most):
            raise TooManyRequests(most, "second", retry_after=wait)
    return tenant


Submitter = Annotated[Tenant, Depends(ByField("submit"))]
"""Makes something, or ends it."""
Reader = Annotated[Tenant, Depends(ByField("read"))]
"""Looks."""
Admin = Annotated[Tenant, Depends(ByField("admin"))]
"""Does what concerns the whole deployment."""
HeaderSubmitter = Annotated[Tenant, Depends(ByHeader("submit"))]
HeaderReader = Annotated[Tenant, Depends(ByHeader("read"))]
HeaderAdmin = Annotated[Tenant, Depends(ByHeader("admin"))]
Json = Annotated[dict[str, Any], Depends(read_json)]
