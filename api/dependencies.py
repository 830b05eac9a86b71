"""What a route may ask for, as Annotated aliases."""

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from api.auth import authenticate
from api.door import Door
from api.fields import read_fields, read_json
from shared.tenants import Tenant


# Coroutines, though they wait for nothing: plain functions would each cost a trip to a thread.
async def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


FrontDoor = Annotated[Door, Depends(_door)]
Fields = Annotated[dict[str, Any], Depends(read_fields)]


async def _caller(request: Request, fields: Fields) -> Tenant:
    tenant = authenticate(fields, request.headers, request.app.state.tenants)
    request.state.tenant = tenant
    return tenant


Caller = Annotated[Tenant, Depends(_caller)]


# It only shows in the documentation that a token is needed.
_Shown = Annotated[Any, Depends(HTTPBearer(auto_error=False, scheme_name="key"))]


async def _bearer(request: Request, _: _Shown) -> Tenant:
    tenant = authenticate({}, request.headers, request.app.state.tenants)
    request.state.tenant = tenant
    return tenant


Bearer = Annotated[Tenant, Depends(_bearer)]
"""As `Caller`, by headers alone."""
Json = Annotated[dict[str, Any], Depends(read_json)]
