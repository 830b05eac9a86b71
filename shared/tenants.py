"""Who may call, on which terms and with which secrets: read from the keys file."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from shared.config import Settings
from shared.webhooks import secret_key


def _checked(secret: SecretStr) -> SecretStr:
    secret_key(secret.get_secret_value())
    return secret


Scope = Literal["submit", "read", "admin"]
KEY_ID = 16
"""Characters of a key's digest that name it."""


class Terms(BaseModel):
    """What a tenant may have of the service."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    weight: float = Field(default=1.0, gt=0, le=100)
    """Turns in the queue, relative to others."""
    errors_as_200: bool | None = None
    """Whether its errors come under HTTP 200; None: as the deployment does it."""
    most_live: int = Field(default=1000, ge=1)
    """Jobs queued or running at a time."""
    most_running: int | None = Field(default=None, ge=1)
    """Of them, on devices or on the way there; the others wait, and hold up nobody. None: any."""
    most_requests: float | None = Field(default=None, gt=0)
    """A second, by each of its keys, over ten seconds; None: any."""


class Tenant(Terms):
    """One customer: owns jobs, however many keys it has."""

    tenant: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    scopes: frozenset[Scope] = frozenset({"submit", "read"})
    """What its key may do; `admin`: what concerns the whole deployment."""
    key_id: str = ""
    """Tells the key that it came with from its others, and is no secret."""


class Entry(Tenant):
    """A line of the keys file: a tenant, and a key of it."""

    key: SecretStr | None = Field(default=None, min_length=8)
    key_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """What is kept of a key that is not in the file itself."""
    webhook_secret: Annotated[SecretStr, AfterValidator(_checked)] | None = None
    """`whsec_...`; without one the deployment's own signs."""

    @model_validator(mode="after")
    def _has_a_key(self) -> "Entry":
        if not (self.key or self.key_sha256):
            raise ValueError("give `key` or `key_sha256`")
        return self

    @property
    def digest(self) -> str:
        """The SHA-256 of its key, in hex."""
        return digest(self.key.get_secret_value()) if self.key else self.key_sha256


def digest(key: str) -> str:
    """A key as it is kept and looked up: no comparison depends on its secret characters."""
    return hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


class Tenants:
    """Every tenant of the deployment; one may stand in the file once for each of its keys."""

    def __init__(self, tenants: list[Entry], *, default_secret: str = "") -> None:
        self._by_key = {entry.digest: _tenant(entry) for entry in tenants}
        self._by_name = {tenant.tenant: tenant for tenant in reversed(self._by_key.values())}
        self._default = default_secret.split()
        self._secrets: defaultdict[str, list[str]] = defaultdict(list)
        for tenant in tenants:
            if tenant.webhook_secret:
                self._secrets[tenant.tenant].append(tenant.webhook_secret.get_secret_value())

    @classmethod
    def read(cls, settings: Settings) -> "Tenants":
        """`tenant=key,...`, or the path of a JSON list; a `ValueError` shows no secret."""
        default_secret = settings.webhook_secret.get_secret_value()
        for secret in default_secret.split():
            secret_key(secret)
        tenants = [Entry(**entry) for entry in _entries(settings.api_keys)]
        return cls(tenants, default_secret=default_secret)

    def of_key(self, key: str) -> Tenant | None:
        """Whose key it is."""
        return self._by_key.get(digest(key))

    def named(self, name: str) -> Tenant | None:
        """The tenant as it first stands in the file."""
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[Tenant]:
        return iter(self._by_name.values())

    def webhook_secrets(self, tenant: str) -> list[str]:
        """What signs the tenant's webhooks, several while one replaces another; empty: unsigned."""
        return self._secrets.get(tenant, self._default)


def _tenant(entry: Entry) -> Tenant:
    fields = entry.model_dump(include=set(Tenant.model_fields))
    return Tenant(**fields | {"key_id": entry.digest[:KEY_ID]})


def _entries(api_keys: str) -> list[dict[str, Any]]:
    if api_keys.startswith(("/", ".")) or api_keys.endswith(".json"):
        entries: list[dict[str, Any]] = json.loads(Path(api_keys).read_text())
        return entries
    pairs = [pair.partition("=") for pair in api_keys.split(",") if pair.strip()]
    return [{"tenant": tenant.strip(), "key": key.strip()} for tenant, _, key in pairs]
