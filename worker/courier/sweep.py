"""Removes the objects that no job needs: what lost attempts stored, and what has had its time.

An object goes only if a record that is there names others in its place, or if the settings say
that its time is over. So a ledger that lost its records costs no picture: what has no record stays
for as long as the settings say, for ever by default. And what was running when Redis was away may
have ended in a moment that Redis lost: its owner knows other pictures than its record, so all stay.
An absence that no courier noticed, shorter than half a lease, is the exception.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.jobs import JobRecord
from shared.ledger.records import read
from shared.object_store import STORE_ERRORS, ObjectStore, output_keys
from shared.retention import lifetimes
from worker.courier.config import CourierSettings
from worker.courier.metrics import SWEPT

log = logging.getLogger(__name__)

AT_ONCE = 200
"""Records that are read together."""
PAUSE_SECONDS = 1.0
"""Between two pages: nobody waits for a sweep."""


class Unreadable:
    """A record that is there, perhaps a newer version's: all that it may name is needed."""


@dataclass(frozen=True, slots=True)
class Page:
    """Objects to remove."""

    why: str
    """leftover | expired"""
    keys: Sequence[str]
    jobs: Sequence[str] = ()
    """Whose leftovers they are."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """One bucket, swept by the ledger's word."""

    redis: Redis
    store: ObjectStore
    settings: CourierSettings

    async def is_due(self) -> bool:
        """Whether this process is the one to sweep now; for a while no other one is."""
        return bool(await self.redis.set("swept", 1, nx=True, px=self.settings.sweep))

    async def pages(self) -> AsyncIterator[Page]:
        """What can be removed now; removes nothing."""
        async for page in self._leftovers():
            yield page
        if not await asyncio.to_thread(self.store.expires_objects):
            for folder, age in lifetimes(self.settings).items():
                async for page in self._expired(folder, age):
                    yield page

    async def remove(self, page: Page) -> None:
        """Raises the store's errors, or an OSError that names what stays."""
        await asyncio.to_thread(self.store.delete, page.keys)
        if page.jobs:
            await self.redis.zrem("leftovers", *page.jobs)
        SWEPT.labels(page.why).inc(len(page.keys))

    async def _leftovers(self) -> AsyncIterator[Page]:
        seconds, microseconds = await self.redis.time()
        now = seconds * 1000 + microseconds // 1000
        latest = now - self.settings.sweep_after / timedelta(milliseconds=1)
        due: Any = await self.redis.zrangebyscore("leftovers", "-inf", latest)
        for start in range(0, len(due), AT_ONCE):
            jobs = due[start : start + AT_ONCE]
            records = await self._records(jobs)
            known = [one for one in records if isinstance(one, JobRecord)]
            keys = [key for record in known for key in leftovers(record)]
            settled = [
                job
                for job, record in zip(jobs, records, strict=True)
                if not isinstance(record, Unreadable)
            ]
            if settled:
                yield Page("leftover", keys, settled)

    async def _expired(self, folder: str, age: timedelta) -> AsyncIterator[Page]:
        listed = self.store.older(folder, age)
        while (keys := await asyncio.to_thread(next, listed, None)) is not None:
            if folder == "inputs":
                keys = await self._without_job(keys)
            if keys:
                yield Page("expired", keys)

    async def _without_job(self, keys: list[str]) -> list[str]:
        """Those that no job still waits to read."""
        jobs = [await asyncio.to_thread(self.store.job_of, key) for key in keys]
        records = await self._records([str(job or "") for job in jobs])
        return [key for key, one in zip(keys, records, strict=True) if not _may_read(one)]

    async def _records(self, jobs: Sequence[str]) -> list[JobRecord | Unreadable | None]:
        async with self.redis.pipeline(transaction=False) as pipe:
            for job in jobs:
                pipe.hgetall(f"job:{job}")
            return [_read(fields) for fields in await pipe.execute()]


def leftovers(record: JobRecord) -> list[str]:
    """Where attempts may have stored images that the job's record does not name."""
    if not record.state.is_final:
        return []
    named = record.result.keys if record.result else ()
    attempts = range(1, 1 + record.generation)
    return [key for n in attempts for key in output_keys(record.job, n) if key not in named]


async def sweep_for_ever(sweep: Sweep, *, every: timedelta) -> None:
    """Sweep when it is this courier's turn."""
    while True:
        try:
            if await sweep.is_due():
                await _sweep_once(sweep)
        except (RedisError, OSError, *STORE_ERRORS) as error:
            log.warning("not swept", extra={"error": type(error).__name__})
        await asyncio.sleep(every.total_seconds() / 4)


async def _sweep_once(sweep: Sweep) -> None:
    removed = {"leftover": 0, "expired": 0}
    async for page in sweep.pages():
        await sweep.remove(page)
        removed[page.why] += len(page.keys)
        await asyncio.sleep(PAUSE_SECONDS)
    log.info("swept", extra=removed)


def _may_read(record: JobRecord | Unreadable | None) -> bool:
    """Whether the job may still read its inputs."""
    if isinstance(record, JobRecord):
        return not record.state.is_final
    return record is not None


def _read(fields: dict[str, Any]) -> JobRecord | Unreadable | None:
    try:
        return read(fields)
    except (ValidationError, KeyError):
        return Unreadable()
