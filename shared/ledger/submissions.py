"""What the front door does with the ledger: submit jobs, find and cancel them, ask for the time."""

import asyncio
import json
import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import cast

from redis.asyncio import Redis

from shared.config import Settings
from shared.errors import Cancelled
from shared.jobs import Failure, JobRecord
from shared.ledger.estimates import Expectation, Load
from shared.ledger.places import Found, Standing, read_load, read_standing
from shared.ledger.receipts import Receipt, Submission, read_receipt, terms, track_digest
from shared.ledger.records import DELETED, read
from shared.ledger.scripts import script_settings, source
from shared.ledger.together import Together

CANCELLED = Failure.of(Cancelled("Cancelled by its owner"))
CLEARED = Failure.of(Cancelled("Cancelled: the queue was cleared"))
AT_ONCE = 100
"""Jobs that one call of a script takes or ends: Redis does nothing else meanwhile."""
LATER = 0.02
"""Seconds: so long nobody misses what is only learnt from."""
BURST_SECONDS = 10
"""For which a key that was silent may ask at once what it may ask in all."""


class Submissions:
    """The ledger, as the front door uses it."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = script_settings(settings)
        self._submit = redis.register_script(source("submit"))
        self._note_deleted = redis.register_script(source("note_deleted"))
        self._find = redis.register_script(source("find"))
        self._cancel = redis.register_script(source("cancel"))
        self._cancel_waiting = redis.register_script(source("cancel_waiting"))
        self._take_turn = redis.register_script(source("take_turn"))
        self._place = redis.register_script(source("place"))
        self._expect = redis.register_script(source("expect"))
        self._submit_one = Together(self._submit_several, AT_ONCE)
        self._expect_one = Together(self._expect_several, AT_ONCE, LATER)

    async def submit(self, submission: Submission) -> Receipt:
        """Record the job and publish what is due, in one round trip."""
        job = submission.job
        # Written down here: what cannot be concerns nobody else.
        return await self._submit_one((job.pool, terms(submission), job.model_dump_json()))

    async def _submit_several(
        self, written: Sequence[tuple[str, str, str]]
    ) -> list[Receipt | Exception]:
        args = [self._settings]
        for _, *texts in written:
            args += texts
        answer = json.loads(await self._submit(args=args))
        loads = {pool: _if_known(found) for pool, found in answer["loads"].items()}
        return [
            read_receipt(found, loads.get(pool))
            for (pool, *_), found in zip(written, answer["receipts"], strict=True)
        ]

    async def find(self, job_id: int, tenant: str) -> JobRecord | None:
        """The tenant's job, or None: another tenant's id answers as an unknown one does."""
        found = await self._find(args=[self._settings, job_id, tenant])
        return read(dict(zip(found[::2], found[1::2], strict=True)))

    async def note_deleted(self, job_id: int, keys: Iterable[str]) -> None:
        """These outputs of the job are no longer there."""
        fields = [f"{DELETED}{key}" for key in keys]
        await self._note_deleted(args=[self._settings, job_id, *fields])

    async def newest(
        self, tenant: str, track_id: str | None, *, after: int | None, most: int
    ) -> tuple[list[JobRecord], int | None]:
        """The tenant's jobs, newest first, from after the job `after` on, and the next `after`.

        All, or those of a track_id; one that is no text is found by its JSON. The index holds a
        thousand, for as long as finished jobs are kept.
        """
        index = f"jobs:{tenant}" if track_id is None else f"jobs:{tenant}:{track_digest(track_id)}"
        first = 0
        if after is not None:
            rank = await self._redis.zrevrank(index, str(after))
            if rank is None:
                return [], None
            first = cast("int", rank) + 1
        ids = cast("list[str]", await self._redis.zrevrange(index, first, first + most - 1))
        async with self._redis.pipeline(transaction=False) as pipe:
            for job_id in ids:
                pipe.hgetall(f"job:{job_id}")
            records = map(read, await pipe.execute())
        more = int(ids[-1]) if len(ids) == most else None
        return [record for record in records if record], more

    async def cancel(self, job_id: int, tenant: str) -> bool | None:
        """Whether this call ended the job; None when the tenant has none of that id."""
        ended = await self._cancel(
            args=[self._settings, job_id, tenant, CANCELLED.model_dump_json()]
        )
        return None if ended is None else bool(ended)

    async def cancel_waiting(self, tenant: str | None) -> int:
        """End the jobs that wait, of one tenant or of all; how many this call ended."""
        if tenant is None:
            ids = await self._waiting()
        else:
            ids = sorted(cast("set[str]", await self._redis.smembers(f"live:{tenant}")))
        failure = CLEARED if tenant is None else CANCELLED
        ended = 0
        # From the end of the queue: what is at its front is published again and again meanwhile.
        for first in range(0, len(ids), AT_ONCE):
            batch = ids[::-1][first : first + AT_ONCE]
            args = [self._settings, failure.model_dump_json(), tenant or "", *batch]
            ended += int(await self._cancel_waiting(args=args))
        return ended

    async def _waiting(self) -> list[str]:
        ids = cast("list[str]", await self._redis.zrange("delayed", 0, -1))
        for pool in cast("set[str]", await self._redis.smembers("pools")):
            ids += cast("list[str]", await self._redis.zrange(f"waiting:{pool}", 0, -1))
        return ids

    async def seconds_to_wait(self, key_id: str, most: float) -> int:
        """0, or when a key that may ask `most` times a second, over ten, may do so again."""
        bucket = max(1.0, most * BURST_SECONDS)
        milliseconds = await self._take_turn(args=[self._settings, key_id, most, bucket])
        return math.ceil(int(milliseconds) / 1000)

    async def live(self, tenant: str) -> int:
        """Jobs of the tenant that wait or run."""
        return await self._redis.scard(f"live:{tenant}")

    async def place(self, record: JobRecord) -> tuple[Standing, Load]:
        """Where the job stands, and how busy its pool is; one that waits no more is in front."""
        job = record.job
        args = [self._settings, job.pool, job.tenant, str(job.id)]
        found = json.loads(await self._place(args=args))
        return read_standing(found["standing"]), read_load(found["load"])

    async def load(self, pool: str) -> Load:
        """How busy the pool is now."""
        found = json.loads(await self._place(args=[self._settings, pool, "", ""]))
        return read_load(found["load"])

    def expect(self, job_id: int, expectation: Expectation) -> asyncio.Future[None]:
        """Remember what the caller is told first; how it comes out makes later ones better."""
        milliseconds = max(1, round(expectation.seconds * 1000))
        told = self._expect_one((job_id, milliseconds, expectation.of))
        told.add_done_callback(_forgive)
        return told

    async def close(self) -> None:
        """Say what is still to be said, if Redis takes it soon: it is only learnt from."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._expect_one.close()

    async def _expect_several(self, expected: Sequence[tuple[int, int, str]]) -> list[None]:
        args: list[str | int] = [self._settings]
        for one in expected:
            args += one
        await self._expect(args=args)
        return [None] * len(expected)


def _forgive(told: asyncio.Future[None]) -> None:
    """Less is learnt, and nobody need know."""
    if not told.cancelled():
        told.exception()


def _if_known(found: Found) -> Load | None:
    """A load; jobs were recorded before it was looked up, and an error would hide that."""
    with suppress(LookupError, TypeError, ValueError):
        return read_load(found)
    return None
