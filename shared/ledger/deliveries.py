"""The outbox: couriers take webhooks that are due and note what came of them, owners look."""

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

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
    """1 for the first."""


class DeliveryLog(BaseModel):
    """One attempt, as the job's owner may see it."""

    at: float
    """Seconds since the epoch."""
    seconds: float
    status: int | None = None
    """HTTP status; None when no answer came."""
    reason: str = ""


class Deliveries:
    """The outbox."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._redis = redis
        self._settings = script_settings(settings)
        self._replay = redis.register_script(source("replay"))
        self._claim = redis.register_script(source("claim_deliveries"))
        self._settle = redis.register_script(source("settle_delivery"))

    async def claim(self, most: int, *, lease: timedelta) -> list[Delivery]:
        """Up to `most` that are due; each comes back after `lease` unless it is settled."""
        milliseconds = round(lease.total_seconds() * 1000)
        deliveries = []
        for job_id, message_id, attempts, fields in await self._claim(
            args=[self._settings, most, milliseconds]
        ):
            try:
                record = read(dict(zip(fields[::2], fields[1::2], strict=True)))
            except (ValidationError, KeyError):
                # Perhaps a newer version's: it comes back, and holds up no other.
                logger.exception("record not readable", extra={"job_id": job_id})
                continue
            assert record is not None
            deliveries.append(Delivery(record, message_id, attempts + 1))
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

    async def log(self, job_id: int) -> list[DeliveryLog]:
        """The attempts to deliver a job's webhook, the first one first."""
        entries = cast("list[str]", await self._redis.lrange(f"attempts:{job_id}", 0, -1))
        return [DeliveryLog.model_validate_json(entry) for entry in entries]

    async def replay(self, job_id: int, tenant: str) -> bool | None:
        """Make the webhook due once more, under the same message id.

        False: the job has none, or is not over. None: the tenant has no such job.
        """
        replayed = await self._replay(args=[self._settings, job_id, tenant])
        return None if replayed is None else bool(replayed)

    async def _note(
        self, delivery: Delivery, log: DeliveryLog, outcome: str, delay: float = 0
    ) -> None:
        await self._settle(
            args=[
                self._settings,
                delivery.record.job.id,
                log.model_dump_json(),
                outcome,
                round(delay * 1000),
            ]
        )
