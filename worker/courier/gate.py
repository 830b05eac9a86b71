"""Who may be called now: no receiver, and no tenant, can take the place of the others.

A delivery has one of the courier's places while it is young; one that hangs costs little more than
an open connection. Receivers that are not known to answer promptly have at most half of the places
together, so whatever hangs, however many they are, the others go on.
"""

import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from shared.jobs import Job
from worker.courier.config import CourierSettings

MAX_RECEIVERS = 10_000
"""Remembered at a time, those called last."""
QUICKEST = 0.02
"""Seconds: a shorter mean would bring those that wait back before a slot can be free."""
HASTE = 4
"""Turns come so much sooner than expected: an empty place costs more than another look."""
LONGEST_TURN = 30.0
"""Seconds: a receiver that has become quicker is not left waiting for the turns planned before."""
FAILURES = 5
"""In a row, that open a breaker."""
OPEN_SECONDS, LONGEST_OPEN = 30.0, 15 * 60.0
"""For how long, at first and at most; it doubles with each probe that fails."""
JITTER = 0.2
PROMPT = 1.0
"""Seconds: what answers in so much is prompt, and what is under way for longer no longer young."""
SLOW, MOST = 4, 8
"""Times its places: from how many that are not young on a courier begins none with receivers that
are not prompt, and how many it has under way at the most."""


@dataclass(slots=True)
class Share:
    """The deliveries that one receiver, or one tenant, may have under way."""

    most: int
    under_way: int = 0
    seconds: float = QUICKEST
    """What a delivery takes, lately."""
    quiet_since: float = 0.0
    """When one ended last, or the first began."""
    turn: float = 0.0
    """When the last of those that were put off is expected to find room."""

    @property
    def is_full(self) -> bool:
        """Whether another one has to wait."""
        return self.under_way >= self.most

    def next_turn(self, now: float, earliest: float) -> float:
        """When one more may try again: behind all others, at a multiple of the receiver's pace."""
        # One that hangs shows in those under way long before they end.
        seconds = max(self.seconds, now - self.quiet_since) if self.under_way else self.seconds
        turn = max(self.turn, earliest) + seconds / self.most / HASTE
        self.turn = min(turn, earliest + LONGEST_TURN)
        return self.turn

    def enter(self, now: float) -> None:
        """One begins."""
        if not self.under_way:
            self.quiet_since = now
        self.under_way += 1

    def leave(self, now: float, seconds: float) -> None:
        """One ended, after so many seconds."""
        self.under_way -= 1
        self.quiet_since = now
        self.seconds = max(QUICKEST, (self.seconds + seconds) / 2)


@dataclass(slots=True)
class Breaker:
    """Opens after failures in a row; then one probe at a time says whether it may close."""

    failures: int = 0
    until: float = 0.0
    seconds: float = OPEN_SECONDS
    """For how long it opens next."""

    @property
    def is_closed(self) -> bool:
        """Whether nothing is held against the receiver."""
        return self.failures < FAILURES

    def note(self, *, well: bool, now: float) -> None:
        """How a delivery ended, at the receiver's end."""
        if well:
            self.failures, self.until, self.seconds = 0, 0.0, OPEN_SECONDS
            return
        self.failures += 1
        # What was already under way when it opened does not open it again.
        if not self.is_closed and now >= self.until:
            self.until = now + self.seconds * random.uniform(1, 1 + JITTER)
            self.seconds = min(self.seconds * 2, LONGEST_OPEN)


@dataclass(slots=True)
class Receiver:
    """One host and port, as this courier knows it."""

    share: Share
    breaker: Breaker = field(default_factory=Breaker)
    has_answered: bool = False
    """To the last delivery that ended, and well."""

    def is_shut(self, now: float) -> bool:
        """Whether another delivery has to wait; one goes ahead alone until the receiver answers."""
        if now < self.breaker.until:
            return True
        return self.share.is_full if self.has_answered else self.share.under_way > 0

    def is_prompt(self, now: float) -> bool:
        """Whether it has answered, soon, and still does."""
        hangs = self.share.under_way > 0 and now - self.share.quiet_since > PROMPT
        return self.has_answered and self.share.seconds <= PROMPT and not hangs


@dataclass(frozen=True, slots=True)
class Visit:
    """A delivery under way."""

    since: float
    prompt: bool
    """Whether its receiver was known to be."""


class Gate:
    """Each courier has its own: what it knows is gone with it, and soon learned again."""

    def __init__(
        self, settings: CourierSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._receivers: dict[str, Receiver] = {}
        self._tenants: dict[str, Share] = {}
        self._visits: dict[int, Visit] = {}
        # Theirs are counted from the visits; the share says when the next one may try again.
        self._strangers = Share(max(1, settings.deliveries // 2), seconds=PROMPT)

    @property
    def room(self) -> int:
        """How many more may begin now, if their receivers and tenants let them."""
        places, young = self._settings.deliveries, len(self._young(self._clock()))
        return max(0, min(places - young, MOST * places - len(self._visits)))

    @property
    def open_breakers(self) -> int:
        """Receivers that are left alone, or probed."""
        return sum(not receiver.breaker.is_closed for receiver in self._receivers.values())

    def enter(self, job: Job) -> float:
        """0: its delivery is under way now, until `leave`. Else the seconds to put it off."""
        now, receiver, tenant = self._clock(), self._receiver(job), self._tenant(job)
        turns = []
        if receiver.is_shut(now):
            turns.append(receiver.share.next_turn(now, max(now, receiver.breaker.until)))
        if tenant.is_full:
            turns.append(tenant.next_turn(now, now))
        prompt = receiver.is_prompt(now)
        if not (turns or prompt or self._admits_stranger(receiver, now)):
            turns.append(self._strangers.next_turn(now, now))
        if turns:
            return max(turns) - now
        receiver.share.enter(now)
        tenant.enter(now)
        self._visits[job.id] = Visit(now, prompt)
        return 0.0

    def leave(self, job: Job, seconds: float, *, well: bool | None) -> None:
        """It ended; `well`: whether the receiver is, None where nothing was learned of it."""
        now, receiver, tenant = self._clock(), self._receiver(job), self._tenant(job)
        self._visits.pop(job.id, None)
        receiver.share.leave(now, seconds)
        tenant.leave(now, seconds)
        if well is not None:
            receiver.breaker.note(well=well, now=now)
            receiver.has_answered = well
        if not tenant.under_way:
            del self._tenants[job.tenant]
        name = address(job)
        self._receivers[name] = self._receivers.pop(name)  # the last to be forgotten
        self._forget()

    def _young(self, now: float) -> list[Visit]:
        return [visit for visit in self._visits.values() if now - visit.since < PROMPT]

    def _admits_stranger(self, receiver: Receiver, now: float) -> bool:
        """Whether one more may begin that is not known to be prompt; one that failed leaves half
        of their room to those that did not.
        """
        young = self._young(now)
        strangers, slow = sum(not visit.prompt for visit in young), len(self._visits) - len(young)
        share = 0.5 if receiver.breaker.failures else 1.0
        few = strangers < max(1, share * self._strangers.most)
        return few and slow < share * SLOW * self._settings.deliveries

    def _receiver(self, job: Job) -> Receiver:
        share = Share(self._settings.deliveries_per_host)
        return self._receivers.setdefault(address(job), Receiver(share))

    def _tenant(self, job: Job) -> Share:
        return self._tenants.setdefault(job.tenant, Share(self._settings.deliveries_per_tenant))

    def _forget(self) -> None:
        idle = (name for name, r in self._receivers.items() if not r.share.under_way)
        for name in list(itertools.islice(idle, max(0, len(self._receivers) - MAX_RECEIVERS))):
            del self._receivers[name]


def address(job: Job) -> str:
    """Host and port of a job's webhook, as they are dialled."""
    assert job.webhook is not None
    try:
        return httpx.URL(job.webhook).netloc.decode()
    except httpx.InvalidURL:  # its delivery will say so
        return job.webhook
