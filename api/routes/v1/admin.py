"""Tenants and their keys, for whoever runs the deployment."""

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ValidationError

from api.dependencies import HeaderAdmin, Json
from api.errors import InvalidFields, NotFound
from api.requests import reason
from api.routes.v1.examples import KEY, TERMS, answers, json_body
from shared.api_keys import KeyRecord, NewKey
from shared.keyring import InTheFile, Keyring
from shared.tenants import Tenants, Terms

router = APIRouter(prefix="/admin", tags=["admin"])

M = TypeVar("M", bound=BaseModel)
IN_FILE = "stands in the keys file, which decides: change it there"
_NEW_KEY = {"tenant": "acme", "name": "web shop", "scopes": ["submit", "read"], "expires": "90d"}


async def _keyring(request: Request) -> Keyring:
    keyring: Keyring = request.app.state.keyring
    return keyring


async def _file(request: Request) -> Tenants:
    tenants: Tenants = request.app.state.tenants
    return tenants


Keys = Annotated[Keyring, Depends(_keyring)]
File = Annotated[Tenants, Depends(_file)]
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,64}$", examples=["acme"])]


def _parsed(model: type[M], fields: dict[str, Any], *, strict: bool = False) -> M:
    try:
        return model.model_validate(fields, strict=strict)
    except ValidationError as error:
        reasons = {str(e["loc"][0]): [reason(e)] for e in error.errors()}
        raise InvalidFields(reasons) from None


@router.get("/tenants", responses=answers(s200={"tenants": [TERMS]}))
async def list_tenants(_: HeaderAdmin, keyring: Keys, file: File) -> dict[str, Any]:
    """Every tenant and its terms: of the keys file, and those given here."""
    names = set(Terms.model_fields)
    listed = [_terms(one.tenant, one.model_dump(include=names), in_file=True) for one in file]
    given = (await keyring.tenants()).items()
    return {
        "tenants": [*listed, *(_terms(name, t.model_dump(), in_file=False) for name, t in given)]
    }


@router.put(
    "/tenants/{tenant}",
    openapi_extra=json_body({"weight": 2, "most_running": 8}, Terms.model_json_schema()),
    responses=answers("invalid_field", s200=TERMS),
)
async def put_tenant(
    tenant: Name, fields: Json, _: HeaderAdmin, keyring: Keys, file: File
) -> dict[str, Any]:
    """Give a tenant, new or not, these terms; what is left out is as usual."""
    # JSON has one kind of number: 5.0 is whole.
    typed = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in fields.items()
    }
    terms = _parsed(Terms, typed, strict=True)
    try:
        await keyring.set_terms(tenant, terms, file)
    except InTheFile:
        raise InvalidFields.of("tenant", IN_FILE) from None
    return _terms(tenant, terms.model_dump(), in_file=False)


@router.delete("/tenants/{tenant}", status_code=204, responses=answers("not_found"))
async def delete_tenant(tenant: Name, _: HeaderAdmin, keyring: Keys, file: File) -> None:
    """Revoke a tenant's keys and forget its terms. Its jobs end as they would."""
    try:
        known = await keyring.remove(tenant, file)
    except InTheFile:
        raise InvalidFields.of("tenant", IN_FILE) from None
    if not known:
        raise NotFound("Tenant")


@router.post(
    "/keys",
    status_code=201,
    openapi_extra=json_body(_NEW_KEY, NewKey.model_json_schema()),
    responses=answers("invalid_field", s201=KEY | {"key": "sk_live_..."}),
)
async def create_key(fields: Json, _: HeaderAdmin, keyring: Keys) -> dict[str, Any]:
    """Make a key, which is shown this once. A tenant may have several at a time."""
    key, id_, record = await keyring.create(_parsed(NewKey, fields))
    return _shown(id_, record) | {"key": key}


@router.get("/keys", responses=answers(s200={"keys": [KEY]}))
async def list_keys(
    _: HeaderAdmin, keyring: Keys, tenant: Annotated[str | None, Query()] = None
) -> dict[str, Any]:
    """What is kept of the keys made here, the newest first: all, or a tenant's."""
    return {"keys": [_shown(id_, one) for id_, one in (await keyring.keys(tenant)).items()]}


@router.delete("/keys/{key_id}", responses=answers("not_found", s200=KEY))
async def revoke_key(key_id: str, _: HeaderAdmin, keyring: Keys) -> dict[str, Any]:
    """A key works no longer, within two seconds and everywhere. Its jobs stay its tenant's."""
    if (record := await keyring.revoke(key_id)) is None:
        raise NotFound("Key")
    return _shown(key_id, record)


def _terms(tenant: str, terms: dict[str, Any], *, in_file: bool) -> dict[str, Any]:
    return {"tenant": tenant, "in_file": in_file, **terms}


def _shown(id_: str, record: KeyRecord) -> dict[str, Any]:
    times = {
        name: time and datetime.fromtimestamp(time, UTC).isoformat(timespec="seconds")
        for name in ("created", "expires", "disabled")
        for time in (getattr(record, name),)
    }
    return {"id": id_} | record.model_dump() | {"scopes": sorted(record.scopes)} | times
