"""Ledger, bucket and devices when all is quiet again."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.jobs import JobRecord
from tests.chaos.history import STATES


@dataclass(frozen=True)
class Ended:
    """A job when all was quiet again."""

    record: JobRecord
    message_id: str = ""

    @property
    def state(self) -> str:
        """In the history's words."""
        return STATES[self.record.state]

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of its images."""
        return tuple(key.rpartition("/")[2] for key in self.record.outputs)


@dataclass(frozen=True)
class Final:
    """Ledger, bucket and devices when all was quiet again."""

    jobs: Mapping[int, Ended]
    objects: Mapping[str, bytes]
    """Outputs by key."""
    left: Mapping[str, int] = field(default_factory=dict)
    """Size of each key of the ledger in which something waits or runs."""
    executions: Mapping[int, int] = field(default_factory=dict)
    """Samples that a device began, by job."""
    faults: int = 0
    """All that could cost an attempt."""
    max_attempts: int = 3


def orphans(final: Final) -> int:
    """Outputs of attempts that ended before their time: nobody is shown them, a sweep's work."""
    shown = {key for job in final.jobs.values() for key in job.record.outputs}
    return len(final.objects.keys() - shown)
