"""What a route may ask for, as Annotated aliases."""

from typing import Annotated, Any

from fastapi import Depends, Request

from api.auth import authenticate
from api.config import ApiSettings
from api.door import Door
from api.fields import read_fields
from shared.object_store import ObjectStore
from shared.tenants import Tenant


def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


def _store(request: Request) -> ObjectStore:
    store: ObjectStore = request.app.state.store
    return store


def _settings(request: Request) -> ApiSettings:
    settings: ApiSettings = request.app.state.settings
    return settings


FrontDoor = Annotated[Door, Depends(_door)]
Store = Annotated[ObjectStore, Depends(_store)]
Config = Annotated[ApiSettings, Depends(_settings)]
Fields = Annotated[dict[str, Any], Depends(read_fields)]


def _caller(request: Request, fields: Fields) -> Tenant:
    return authenticate(fields, request.headers, request.app.state.tenants)


Caller = Annotated[Tenant, Depends(_caller)]
