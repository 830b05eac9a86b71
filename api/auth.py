"""API key -> tenant."""

from collections.abc import Mapping
from typing import Any

from api.errors import InvalidKey
from shared.tenants import Tenant, Tenants


def authenticate(fields: Mapping[str, Any], headers: Mapping[str, str], tenants: Tenants) -> Tenant:
    """Whose request it is, by the field `key`, the header `key`, or a bearer token."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    key = fields["key"] if "key" in fields else headers.get("key") or bearer
    tenant = tenants.of_key(key) if isinstance(key, str) and key else None
    if tenant is None:
        raise InvalidKey(given=bool(key))
    return tenant
