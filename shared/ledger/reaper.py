"""What nobody may forget: lost jobs, due retries and lost messages come back, late jobs end."""

from dataclasses import dataclass

from redis.asyncio import Redis

from shared.config import Settings
from shared.errors import Cancelled, NotStarted, WorkerLost
from shared.jobs import Failure
from shared.ledger.scripts import script_settings, source


@dataclass(frozen=True, slots=True)
class Reaped:
    """What one round brought back, or ended."""

    leases: int
    retries: int
    messages: int
    called_off: int = 0
    """Ended because it was too late for them."""


class Reaper:
    """Any number may run, at any time: a round is one script."""

    def __init__(self, redis: Redis, settings: Settings) -> None:
        self._settings = script_settings(settings)
        self._reap = redis.register_script(source("reap"))
        too_late = f"No worker took the job within {settings.start_within.total_seconds():g} s"
        self._failures = [
            Failure.of(error).model_dump_json()
            for error in (
                WorkerLost(f"The job ended {settings.max_attempts} workers and was given up"),
                Cancelled("Cancelled: not done by its deadline"),
                NotStarted(too_late),
            )
        ]

    async def reap(self) -> Reaped:
        """One round; at least two in a lease, or the script takes the gap for an outage."""
        return Reaped(*(await self._reap(args=[self._settings, *self._failures])))
