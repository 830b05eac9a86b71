"""What everybody saw, as it was seen. Times are `time.monotonic()` of the one process that looks.

States are in three words, whatever API was asked: open, succeeded, failed (also: cancelled).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

E = TypeVar("E")

STATES = {
    **dict.fromkeys(("processing", "queued", "running"), "open"),
    **dict.fromkeys(("success", "succeeded"), "succeeded"),
    **dict.fromkeys(("failed", "cancelled"), "failed"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A client began to ask for a job, and repeats that under one key until it is answered."""

    mark: str
    """Unique; prompt, track_id and idempotency key carry it."""
    tenant: str
    webhook: bool


@dataclass(frozen=True, slots=True)
class Accepted:
    """A client was told that its job is recorded."""

    mark: str
    job_id: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A job, as an answer or a webhook showed it."""

    job_id: int
    began: float
    """When the question left; of a webhook, when it came."""
    ended: float
    state: str
    outputs: tuple[str, ...] = ()
    """Names of the images."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A client followed a link that it had just been given; `status` None: no whole answer came."""

    job_id: int
    link: str
    status: int | None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook reached a receiver."""

    tenant: str
    """Whose receiver it was."""
    mark: Any
    """The `track_id` in its body."""
    job_id: int
    message_id: str
    state: str
    is_signed: bool
    """With that tenant's secret."""
    answer: int
    """The status it got; 0: the connection was cut."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A tenant tried an id of another's, and one that nobody has: the answers, without the ids."""

    job_id: int
    tenant: str
    others: str
    unknown: str


@dataclass(frozen=True, slots=True)
class Stray:
    """A job was not over, and nothing in the ledger would have brought it to an end."""

    job_id: int


@dataclass(frozen=True, slots=True)
class Odd:
    """An answer that no client should get, whatever is broken."""

    what: str


@dataclass
class History:
    """Every event, in the order in which they ended; any thread may add one."""

    events: list[object] = field(default_factory=list)

    def add(self, event: object) -> None:
        """Note it."""
        self.events.append(event)

    def of(self, kind: type[E]) -> Iterator[E]:
        """Those of one kind."""
        return (event for event in list(self.events) if isinstance(event, kind))
