"""API keys that the service makes itself: their form, and what is kept of them."""

import hashlib
import hmac
import re
import secrets
import zlib
from datetime import timedelta
from string import ascii_lowercase, ascii_uppercase, digits
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from shared.tenants import KEY_ID, Scope

PREFIX = "sk_live_"
"""By which scanners of public code find a key that leaked."""
BASE62 = digits + ascii_uppercase + ascii_lowercase
SECRET, CHECKSUM = 43, 6
"""Digits of 32 random bytes, and of a CRC-32."""
FORM = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{SECRET + CHECKSUM}}}")
AGE = re.compile(r"([1-9][0-9]{0,4})([dhm])")
UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}


def _known(scopes: Any) -> Any:
    # A newer version may have given others, which allow nothing here.
    return [one for one in scopes if one in get_args(Scope)] if isinstance(scopes, list) else scopes


class KeyRecord(BaseModel):
    """What is kept of a key; not the key."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    name: str = ""
    """What its owner calls it."""
    scopes: Annotated[frozenset[Scope], BeforeValidator(_known)]
    created: float
    """Seconds since the epoch, as the others."""
    expires: float | None = None
    disabled: float | None = None
    last4: str

    def works_at(self, time: float) -> bool:
        """Whether the key is good then."""
        return self.disabled is None and (self.expires is None or time < self.expires)


class NewKey(BaseModel):
    """What is asked for when a key is made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    name: str = Field(default="", max_length=64, pattern=r"^[^\x00-\x1f]*$")
    scopes: frozenset[Scope] = Field(
        default=frozenset({"submit", "read"}),
        min_length=1,
        json_schema_extra={"uniqueItems": False},  # said twice is said once
    )
    expires: str | None = Field(default=None, pattern=rf"^{AGE.pattern}$")
    """After how long: `90d`, `12h`, `30m`; None: never."""


def new_key() -> str:
    """A key of 256 random bits; its last characters are a checksum of the others."""
    body = PREFIX + _base62(secrets.randbits(256), SECRET)
    return body + _checksum(body)


def is_whole(key: str) -> bool:
    """Whether it can be one of ours: a key that was cut or mistyped is not looked up."""
    return bool(FORM.fullmatch(key)) and _checksum(key[:-CHECKSUM]) == key[-CHECKSUM:]


def key_digest(key: str, pepper: SecretStr) -> str:
    """A key as it is kept and looked up: HMAC-SHA256 under the deployment's pepper, in hex.

    The keys are random, so a slow hash would cost every request and hinder no attacker.
    """
    return hmac.digest(pepper.get_secret_value().encode(), key.encode(), hashlib.sha256).hex()


def key_id(digest: str) -> str:
    """How a key is spoken of."""
    return digest[:KEY_ID]


def lifetime(age: str) -> timedelta:
    """`90d` and the like; raises ValueError."""
    if not (found := AGE.fullmatch(age)):
        raise ValueError(f"must be like 90d, 12h or 30m, got {age[:20]!a}")
    return int(found[1]) * UNITS[found[2]]


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), CHECKSUM)


def _base62(number: int, length: int) -> str:
    shown = ""
    while len(shown) < length:
        number, digit = divmod(number, len(BASE62))
        shown = BASE62[digit] + shown
    return shown
