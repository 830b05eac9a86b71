"""What nobody may forget: the jobs of lost workers, due retries and lost messages come back."""

from dataclasses import dataclass

from redis.asyncio import Redis

from shared.config import Settings
from shared.errors import WorkerLost
from shared.jobs import Failure
from shared.ledger.scripts import script_settings, source


@dataclass(frozen=True, slots=True)
class Reaped:
    """What one round brought back."""

    leases: int
    retries: int
    messages: int


class Reaper:
    """Any number may run, at any time: a round is one script."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._settings = script_settings(settings)
        self._reap = redis.register_script(source("reap"))
        lost = WorkerLost(f"The job ended {settings.max_attempts} workers and was given up")
        self._failure = Failure.of(lost).model_dump_json()

    async def reap(self) -> Reaped:
        """One round; at least two in a lease, or the script takes the gap for an outage."""
        return Reaped(*(await self._reap(args=[self._settings, self._failure])))
