"""Who may call, and with which secrets: read from the keys file."""

import hashlib
import json
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from shared.config import Settings
from shared.webhooks import secret_key


def _checked(secret: SecretStr) -> SecretStr:
    secret_key(secret.get_secret_value())
    return secret


Scope = Literal["submit", "read", "admin"]


class Tenant(BaseModel):
    """One customer: owns jobs, however many keys it has."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    tenant: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    key: SecretStr | None = Field(default=None, min_length=8)
    key_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """What is kept of a key that is not in the file itself."""
    webhook_secret: Annotated[SecretStr, AfterValidator(_checked)] | None = None
    """`whsec_...`; without one the deployment's own signs."""
    weight: float = Field(default=1.0, gt=0, le=100)
    """Turns in the queue, relative to others."""
    errors_as_200: bool | None = None
    """Whether its errors come under HTTP 200; None: as the deployment does it."""
    most_live: int = Field(default=1000, ge=1)
    """Jobs queued or running at a time."""
    scopes: frozenset[Scope] = frozenset({"submit", "read"})
    """What its key may do; `admin`: what concerns the whole deployment."""

    @model_validator(mode="after")
    def _has_a_key(self) -> "Tenant":
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

    def __init__(self, tenants: list[Tenant], *, default_secret: str = "") -> None:
        self._by_key = {tenant.digest: tenant for tenant in tenants}
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
        tenants = [Tenant(**entry) for entry in _entries(settings.api_keys)]
        return cls(tenants, default_secret=default_secret)

    def of_key(self, key: str) -> Tenant | None:
        """Whose key it is."""
        return self._by_key.get(digest(key))

    def webhook_secrets(self, tenant: str) -> list[str]:
        """What signs the tenant's webhooks, several while one replaces another; empty: unsigned."""
        return self._secrets.get(tenant, self._default)


def _entries(api_keys: str) -> list[dict[str, Any]]:
    if api_keys.startswith(("/", ".")) or api_keys.endswith(".json"):
        entries: list[dict[str, Any]] = json.loads(Path(api_keys).read_text())
        return entries
    pairs = [pair.partition("=") for pair in api_keys.split(",") if pair.strip()]
    return [{"tenant": tenant.strip(), "key": key.strip()} for tenant, _, key in pairs]
