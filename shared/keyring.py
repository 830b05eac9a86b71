"""Keys and tenants that are kept in Redis: made and revoked while the service runs.

api_keys   hash   digest of a key -> its record
tenants    hash   tenant -> its terms
"""

import logging
import time
from dataclasses import dataclass
from typing import TypeVar, cast

from pydantic import BaseModel, SecretStr, ValidationError
from redis.asyncio import Redis

from shared.api_keys import KeyRecord, NewKey, is_whole, key_digest, key_id, lifetime, new_key
from shared.tenants import KEY_ID, Tenant, Tenants, Terms

FRESH_SECONDS = 2.0
"""For which a process trusts what it read: a revoked key stops working within that."""
M = TypeVar("M", bound=BaseModel)

log = logging.getLogger(__name__)


class InTheFile(Exception):
    """The tenant stands in the keys file, which has the last word on it."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A key as it was read, and when by the process's clock."""

    record: KeyRecord
    tenant: Tenant
    at: float


class Keyring:
    """All keys but those of the keys file."""

    def __init__(self, redis: Redis, pepper: SecretStr) -> None:
        self._redis = redis
        self._pepper = pepper
        self._read: dict[str, _Known] = {}

    async def of_key(self, key: str, file: Tenants) -> Tenant | None:
        """Whose key it is; None for one that is unknown, has expired or was revoked."""
        if not is_whole(key):
            return None
        digest = key_digest(key, self._pepper)
        known = self._read.get(digest)
        if known is None or time.monotonic() - known.at > FRESH_SECONDS:
            known = await self._look_up(digest, file)
        return known.tenant if known and known.record.works_at(time.time()) else None

    async def _look_up(self, digest: str, file: Tenants) -> _Known | None:
        self._read.pop(digest, None)
        found = cast("str | None", await self._redis.hget("api_keys", digest))
        if found is None:
            return None
        record = _read(KeyRecord, found)
        own = {"scopes": record.scopes, "key_id": key_id(digest)}
        if listed := file.named(record.tenant):
            tenant = listed.model_copy(update=own)
        else:
            terms = cast("str | None", await self._redis.hget("tenants", record.tenant))
            tenant = Tenant(tenant=record.tenant, **own, **_read(Terms, terms or "{}").model_dump())
        self._read[digest] = known = _Known(record, tenant, time.monotonic())
        return known

    async def create(self, asked: NewKey) -> tuple[str, str, KeyRecord]:
        """The key, which nobody can read again, its id and its record."""
        key, now = new_key(), time.time()
        digest = key_digest(key, self._pepper)
        record = KeyRecord(
            tenant=asked.tenant,
            name=asked.name,
            scopes=asked.scopes,
            created=now,
            expires=now + lifetime(asked.expires).total_seconds() if asked.expires else None,
            last4=key[-4:],
        )
        await self._redis.hset("api_keys", digest, record.model_dump_json())
        return key, key_id(digest), record

    async def keys(self, tenant: str | None = None) -> dict[str, KeyRecord]:
        """By id: all, or a tenant's, the newest first."""
        found = (await self._records()).items()
        newest = sorted(found, key=lambda one: one[1].created, reverse=True)
        return {key_id(d): record for d, record in newest if tenant in (None, record.tenant)}

    async def revoke(self, id_: str) -> KeyRecord | None:
        """The record of a key that works no longer; None when there is no such key."""
        for digest in cast("list[str]", await self._redis.hkeys("api_keys")):
            if key_id(digest) == id_:
                record = cast("str | None", await self._redis.hget("api_keys", digest))
                return await self._disable(digest, _read(KeyRecord, record)) if record else None
        return None

    async def tenants(self) -> dict[str, Terms]:
        """Those that have terms of their own here."""
        found = cast("dict[str, str]", await self._redis.hgetall("tenants"))
        return dict(sorted(_readable(Terms, found).items()))

    async def set_terms(self, tenant: str, terms: Terms, file: Tenants) -> None:
        """Give a tenant, new or not, its terms; raises InTheFile."""
        if file.named(tenant):
            raise InTheFile
        await self._redis.hset("tenants", tenant, terms.model_dump_json())

    async def remove(self, tenant: str, file: Tenants) -> bool:
        """Revoke the tenant's keys, forget its terms; False when it had neither, or InTheFile."""
        if file.named(tenant):
            raise InTheFile
        records = (await self._records()).items()
        own = [one for one in records if one[1].tenant == tenant and one[1].disabled is None]
        for digest, record in own:
            await self._disable(digest, record)
        return bool(await self._redis.hdel("tenants", tenant)) or bool(own)

    async def _records(self) -> dict[str, KeyRecord]:
        found = cast("dict[str, str]", await self._redis.hgetall("api_keys"))
        return _readable(KeyRecord, found)

    async def _disable(self, digest: str, record: KeyRecord) -> KeyRecord:
        record = record.model_copy(update={"disabled": record.disabled or time.time()})
        await self._redis.hset("api_keys", digest, record.model_dump_json())
        self._read.pop(digest, None)
        return record


def _read(model: type[M], found: str) -> M:
    # A newer version may have written it, with fields that are unknown here.
    return model.model_validate_json(found, extra="ignore")


def _readable(model: type[M], found: dict[str, str]) -> dict[str, M]:
    read = {}
    for name, record in found.items():
        try:
            read[name] = _read(model, record)
        except ValidationError:
            log.warning("a record that cannot be read", extra={"record": name[:KEY_ID]})
    return read
