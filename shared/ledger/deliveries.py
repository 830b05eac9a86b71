"""The outbox: couriers take what is due and note what came of it, owners have it replayed."""

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from pydantic import BaseModel, ValidationError
from redis.asyncio import Redis

from shared.config import Settings
from shared.jobs import JobRecord
from shared.ledger.records import read
from shared.ledger.scripts import script_settings, source

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook to deliver now."""

    record: JobRecord
    message_id: str
    """The same for every attempt, so that a receiver can drop repeats."""
    attempt: int
    """1 for the first, and for the first after a replay."""
    age: float
    """Seconds since the job ended, or since the replay."""
    turn: int
    """Of those who took it: what an earlier one still says decides nothing."""


class DeliveryLog(BaseModel):
    """One attempt, as the job's owner may see it."""

    at: float
    """Seconds since the epoch."""
    seconds: float
    status: int | None = None
    """HTTP status; None when no answer came."""
    reason: str = ""


class DeadLetter(BaseModel):
    """A job or a webhook that was given up."""

    at: float
    """Seconds since the epoch."""
    kind: Literal["job", "webhook"]
    job_id: int
    reason: str
    """JSON: the `Failure` of a job, the last `DeliveryLog` of a webhook."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the outbox."""

    waiting: int
    """Due or not."""
    seconds: float
    """For which the first one has been due; 0 when none is."""


class Deliveries:
    """The outbox."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = script_settings(settings)
        self._claim = redis.register_script(source("claim_deliveries"))
        self._settle = redis.register_script(source("settle_delivery"))
        self._put_off = redis.register_script(source("put_off_deliveries"))
        self._replay = redis.register_script(source("replay_delivery"))

    async def claim(self, most: int, *, lease: timedelta) -> list[Delivery]:
        """Up to `most` that are due; fewer only where no more are.

        Each comes back after `lease` unless it is settled.
        """
        milliseconds = round(lease.total_seconds() * 1000)
        deliveries: list[Delivery] = []
        while wanted := most - len(deliveries):
            rows: Any = await self._claim(args=[self._settings, wanted, milliseconds])
            deliveries += filter(None, (_delivery(*row) for row in rows))
            if len(rows) < wanted:
                break
        return deliveries

    async def delivered(self, delivery: Delivery, log: DeliveryLog) -> None:
        """The receiver has it."""
        await self._note(delivery, log, "delivered")

    async def retry(self, delivery: Delivery, log: DeliveryLog, delay: float) -> None:
        """It comes back after `delay` seconds."""
        await self._note(delivery, log, "retry", delay)

    async def give_up(self, delivery: Delivery, log: DeliveryLog) -> None:
        """No further attempt; it goes to the dead letters."""
        await self._note(delivery, log, "given_up")

    async def put_off(self, deliveries: Iterable[tuple[Delivery, float]]) -> None:
        """They were not tried; each is due again after so many seconds."""
        waits = [(d.record.job.id, d.turn, int(seconds * 1000)) for d, seconds in deliveries]
        if waits:
            await self._put_off(args=[self._settings, *(value for wait in waits for value in wait)])

    async def replay(self, job_id: int, tenant: str) -> bool:
        """Deliver it once more, under the same message id, with as many attempts as a new one.

        False when the tenant has no such job, when its webhook has not been delivered or given up,
        and within seconds of the last replay.
        """
        return bool(await self._replay(args=[self._settings, job_id, tenant]))

    async def log(self, job_id: int) -> list[DeliveryLog]:
        """The last attempts to deliver a job's webhook, whoever owns it, the first one first."""
        entries = await self._redis.lrange(f"attempts:{job_id}", 0, -1)
        return [DeliveryLog.model_validate_json(entry) for entry in entries]

    async def dead_letters(self, most: int) -> list[DeadLetter]:
        """Of jobs and webhooks, the newest first."""
        letters: Any = await self._redis.xrevrange("dead", count=most)
        return [_dead_letter(number, fields) for number, fields in letters]

    async def backlog(self) -> Backlog:
        """What waits, by this process's clock."""
        waiting = await self._redis.zcard("outbox")
        first: Any = await self._redis.zrange("outbox", 0, 0, withscores=True)
        overdue = time.time() - first[0][1] / 1000 if first else 0.0
        return Backlog(waiting, max(0.0, overdue))

    async def _note(
        self, delivery: Delivery, log: DeliveryLog, outcome: str, delay: float = 0
    ) -> None:
        await self._settle(
            args=[
                self._settings,
                delivery.record.job.id,
                delivery.turn,
                log.model_dump_json(),
                outcome,
                round(delay * 1000),
            ]
        )


def _delivery(job_id: str, age: int, encoded: str) -> Delivery | None:
    if not encoded:
        return None
    try:
        fields = json.loads(encoded)
        record, message_id = read(fields), fields["message_id"]
    except (ValidationError, KeyError):
        # Perhaps a newer version's: it comes back, and holds up no other.
        logger.exception("record not readable", extra={"job_id": job_id})
        return None
    assert record is not None
    attempt, turn = int(fields.get("tries", 0)) + 1, int(fields["turn"])
    return Delivery(record, message_id, attempt, age / 1000, turn)


def _dead_letter(number: str, fields: dict[str, str]) -> DeadLetter:
    kind: Literal["job", "webhook"] = "webhook" if "webhook" in fields else "job"
    milliseconds, _, _ = number.partition("-")
    return DeadLetter(
        at=int(milliseconds) / 1000, kind=kind, job_id=int(fields[kind]), reason=fields["reason"]
    )
