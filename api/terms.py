"""What goes through the door beside the job itself: the caller's wishes in, its place out."""

from dataclasses import dataclass
from datetime import timedelta

from shared.jobs import Job
from shared.ledger.submissions import Load


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

    ahead: int
    """Jobs that were accepted before it and still wait."""
    load: Load
    is_held_back: bool = False
    """Whether it waits because others of its tenant run."""

    def eta(self, job: Job) -> float:
        """Seconds until it is done."""
        return self.load.eta(self.ahead, job.params.work)
