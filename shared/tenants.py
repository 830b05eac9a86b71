"""Who may call, and with which secrets: read from the keys file."""

import hashlib
import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from shared.config import Settings


class Tenant(BaseModel):
    """One customer: owns jobs, however many keys it has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    key: SecretStr | None = None
    key_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    """What is kept of a key that is not in the file itself."""
    webhook_secret: SecretStr = SecretStr("")
    """`whsec_...`; empty: the deployment's own."""
    weight: float = Field(default=1.0, gt=0, le=100)
    """Turns in the queue, relative to others."""
    most_live: int = Field(default=1000, ge=1)
    """Jobs queued or running at a time."""

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
    return hashlib.sha256(key.encode()).hexdigest()


class Tenants:
    """Every tenant of the deployment; one may stand in the file once for each of its keys."""

    def __init__(self, tenants: list[Tenant], *, default_secret: str = "") -> None:
        self._by_key = {tenant.digest: tenant for tenant in tenants}
        self._secrets = {t.tenant: t.webhook_secret.get_secret_value() for t in tenants}
        self._default_secret = default_secret

    @classmethod
    def read(cls, settings: Settings) -> "Tenants":
        """`tenant=key,...`, or the path of a JSON list of tenants."""
        given = settings.api_keys
        if "=" in given and not Path(given).exists():
            pairs = (pair.split("=", 1) for pair in given.split(","))
            entries = [{"tenant": name.strip(), "key": key.strip()} for name, key in pairs]
        else:
            entries = json.loads(Path(given).read_text()) if given else []
        default_secret = settings.webhook_secret.get_secret_value()
        return cls([Tenant(**entry) for entry in entries], default_secret=default_secret)

    def of_key(self, key: str) -> Tenant | None:
        """Whose key it is."""
        return self._by_key.get(digest(key))

    def webhook_secrets(self, tenant: str) -> list[str]:
        """What signs the tenant's webhooks; empty: they go out unsigned."""
        secret = self._secrets.get(tenant) or self._default_secret
        return [secret] if secret else []
