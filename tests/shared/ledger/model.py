"""What the ledger should hold, in plain Python: the state machine compares it with the real one."""

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from shared.jobs import Job
from shared.ledger.deliveries import Delivery
from shared.ledger.receipts import Outcome, Submission

MAX_ATTEMPTS = 2
"""Fewer than in earnest, so that many jobs come to their last."""
ENDS = ("succeeded", "failed")
"""What an attempt can come to."""
FINAL = (*ENDS, "cancelled")


@dataclass(frozen=True)
class Held:
    """What an attempt knows of itself."""

    job_id: int
    generation: int
    owner: str


@dataclass
class Entry:
    """A job as it should stand."""

    job: Job
    most_running: int | None = None
    state: str = "queued"
    generation: int = 1
    attempts: int = 0
    owner: str = ""
    delayed: bool = False
    started: bool = False
    aside: bool = False
    """Its attempt only waits for its turn."""
    webhook: str = ""
    """due | taken | waits | delivered | given_up; empty before the end and without an address."""
    deliveries: int = 0
    """Attempts that were made, whoever made them."""
    tries: int = 0
    """Those of couriers that still had the webhook, since it was replayed last."""
    taken_by: Delivery | None = None

    @property
    def waits(self) -> bool:
        """Whether it waits for a worker, not for a time."""
        return self.state == "queued" and not self.delayed

    @property
    def standing(self) -> tuple[str, str, str, str]:
        """As the record's fields say it."""
        return self.state, str(self.generation), str(self.attempts), self.owner


@dataclass
class Model:
    """Every job that was accepted, and what else the scripts remember."""

    jobs: dict[int, Entry] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    overdue: set[int] = field(default_factory=set)
    """Running jobs whose lease has run out."""
    due: set[int] = field(default_factory=set)
    """Delayed jobs whose time has come."""
    late: set[int] = field(default_factory=set)
    """Jobs whose deadline has passed."""
    stale: set[int] = field(default_factory=set)
    """Jobs that have waited for too long."""
    paused: bool = False
    """Redis was away: the next round of the reaper lets live workers go first."""
    grace: bool = False
    dead: int = 0

    def waiting(self, pool: str) -> int:
        """Jobs of a pool that wait for a worker."""
        return sum(e.waits for e in self.jobs.values() if e.job.pool == pool)

    def live(self, tenant: str) -> set[int]:
        """The tenant's jobs that are not final."""
        entries = self.jobs.items()
        return {i for i, e in entries if e.job.tenant == tenant and e.state not in FINAL}

    def in_state(self, state: str) -> set[int]:
        """Jobs by state."""
        return {i for i, e in self.jobs.items() if e.state == state}

    def webhooks(self, *states: str) -> set[int]:
        """Jobs by what is to become of their webhook."""
        return {i for i, e in self.jobs.items() if e.webhook in states}

    def submit(self, submission: Submission) -> tuple[Outcome, int]:
        """The outcome, and whose id it is."""
        job, key = submission.job, (submission.job.tenant, submission.idempotency_key)
        if job.id in self.jobs:
            same = self.jobs[job.id].job == job
            return (Outcome.ACCEPTED if same else Outcome.COLLISION), job.id
        if submission.idempotency_key and key in self.keys:
            first, digest = self.keys[key]
            return (Outcome.REPEATED if digest == submission.digest else Outcome.CONFLICT), first
        if len(self.live(job.tenant)) >= submission.most_live:
            return Outcome.TENANT_FULL, job.id
        if self.waiting(job.pool) >= submission.most_waiting:
            return Outcome.FULL, job.id
        self.jobs[job.id] = Entry(job, submission.most_running)
        if submission.idempotency_key:
            self.keys[key] = (job.id, submission.digest)
        return Outcome.ACCEPTED, job.id

    def claim(self, held: Held) -> int | None:
        """The number of the attempt, or None when the message meant nothing."""
        entry = self.jobs.get(held.job_id)
        if entry and entry.state == "queued" and entry.generation == held.generation:
            entry.state, entry.owner, entry.started = "running", held.owner, True
            self.stale.discard(held.job_id)
            entry.attempts += 1
        elif not self.holds(held):
            return None
        return self.jobs[held.job_id].attempts

    def holds(self, held: Held) -> bool:
        """Whether the attempt may still say what becomes of the job."""
        entry = self.jobs.get(held.job_id)
        known = entry and (entry.state, entry.generation, entry.owner)
        return known == ("running", held.generation, held.owner)

    def finish(self, held: Held, state: str) -> bool:
        """Whether the ledger believes it."""
        entry = self.jobs[held.job_id]
        if self.holds(held):
            self._conclude(entry, state)
            return True
        return (entry.state, entry.generation, entry.owner) == (state, held.generation, held.owner)

    def hand_back(self, held: Held, *, charged: bool, delayed: bool) -> str:
        """What became of the job."""
        if not self.holds(held):
            return "stale"
        return self._requeue(self.jobs[held.job_id], charged=charged, delayed=delayed)

    def cancel(self, job_id: int, tenant: str) -> bool | None:
        """Whether that ended it; None for what the tenant has not."""
        entry = self.jobs.get(job_id)
        if entry is None or entry.job.tenant != tenant:
            return None
        return self._call_off(entry, "cancelled")

    def set_aside(self, held: Held, *, waits: bool) -> bool:
        """Whether the attempt still holds the job."""
        if not self.holds(held):
            return False
        self.jobs[held.job_id].aside = waits
        return True

    def replay(self, job_id: int, *, soon: bool) -> bool:
        """Whether its webhook goes out once more; not so `soon` after the last replay."""
        entry = self.jobs[job_id]
        if soon or entry.webhook not in ("delivered", "given_up"):
            return False
        entry.webhook, entry.tries = "due", 0
        return True

    def reap(self, spared: Set[int] = frozenset()) -> tuple[int, int, int]:
        """Leases ended, retries due and jobs called off in one round.

        Those that are `spared` have waited for long, but for their tenant's own limit.
        """
        off = sum(self._call_off(self.jobs[job_id], "cancelled") for job_id in list(self.late))
        self.grace, self.paused = self.grace or self.paused, False
        ended = 0
        if not self.grace:
            ended = len(self.overdue)
            for job_id in list(self.overdue):
                entry = self.jobs[job_id]
                self._requeue(entry, charged=not entry.aside, delayed=False)
        due = len(self.due)
        for job_id in self.due:
            self.jobs[job_id].delayed = False
        self.due.clear()
        off += sum(self._call_off(self.jobs[job_id], "failed") for job_id in self.stale - spared)
        return ended, due, off

    def settle(self, delivery: Delivery, outcome: str) -> None:
        """Note an attempt; what it came to counts if nobody else has the webhook by now."""
        entry = self.jobs[delivery.record.job.id]
        entry.deliveries += 1
        if entry.taken_by is delivery:
            entry.tries += 1
            entry.taken_by = None
            entry.webhook = "waits" if outcome == "retry" else outcome
            self.dead += outcome == "given_up"

    def _call_off(self, entry: Entry, state: str) -> bool:
        if entry.state in FINAL:
            return False
        self._conclude(entry, state)
        entry.delayed = False
        return True

    def _conclude(self, entry: Entry, state: str) -> None:
        entry.state = state
        for times in (self.overdue, self.due, self.late, self.stale):
            times.discard(entry.job.id)
        if entry.job.webhook:
            entry.webhook = "due"

    def _requeue(self, entry: Entry, *, charged: bool, delayed: bool) -> str:
        self.overdue.discard(entry.job.id)
        if charged and entry.attempts >= MAX_ATTEMPTS:
            self._conclude(entry, "failed")
            self.dead += 1
            return "failed"
        entry.attempts -= not charged
        entry.generation += 1
        entry.state, entry.owner, entry.delayed = "queued", "", delayed
        entry.aside = False
        return "queued"


def repeated(things: Iterable[str]) -> list[str]:
    """Those that come more than once."""
    return [thing for thing, times in Counter(things).items() if times > 1]
