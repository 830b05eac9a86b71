"""What goes through the door beside the job itself: the caller's wishes in, its place out."""

from dataclasses import dataclass
from datetime import timedelta

from shared.jobs import JobRecord, JobState
from shared.ledger.estimates import Expectation, Load
from shared.ledger.submissions import Standing


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a caller asks for beside the job itself."""

    wait: float | None = None
    """Seconds; None: as the deployment does it."""
    idempotency_key: str = ""
    cancel_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job stands among the others of its pool."""

    standing: Standing
    load: Load

    @property
    def ahead(self) -> int:
        """Jobs that were accepted before it and still wait."""
        return self.standing.ahead

    def expectation(self, record: JobRecord) -> Expectation:
        """When it is done, as far as anybody can tell."""
        work, size = record.job.params.work, record.job.params.size
        if record.state is JobState.RUNNING:
            done = record.step / record.steps if record.steps else 0
            return self.load.during(work, done, size=size)
        return self.load.before(self.standing.turns, work, size=size, rounds=self.standing.rounds)

    def eta(self, record: JobRecord) -> float:
        """Seconds until it is done, an upper bound."""
        return round(self.expectation(record).eta + self.standing.delay, 1)


NOWHERE = Place(Standing(0, 0, waits=False), Load(0))
"""Of a job that is over."""
