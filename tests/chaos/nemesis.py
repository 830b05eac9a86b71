"""Brings what can go wrong, by a seed: one or two at a time, each healed before the next."""

import random
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.chaos.faults import FAULTS, Fault, World

LONGEST = 10.0
"""Seconds that a fault lasts."""


@dataclass
class Nemesis:
    """Brings one or two faults, waits, heals them, waits, and begins again."""

    world: World
    rng: random.Random
    chaos: threading.Event
    log: list[str] = field(default_factory=list)
    """`seconds since the start: what`."""
    count: int = 0

    def haunt(self) -> None:
        """Until the chaos is over."""
        started = time.monotonic()
        while self.chaos.is_set():
            self._pause(self.rng.uniform(0.2, 1.5))
            self.world.forgive()
            with ExitStack() as healing:
                for fault in self._choose():
                    text = healing.enter_context(fault(self.world, self.rng))
                    self.log.append(f"{time.monotonic() - started:6.1f} s: {text}")
                    self.count += 1
                self._pause(self.rng.uniform(0.2, self.rng.choice((1, 4, LONGEST))))
            self.log.append(f"{time.monotonic() - started:6.1f} s: healed")

    def _choose(self) -> list[Fault]:
        chosen = self.rng.choices(list(FAULTS), list(FAULTS.values()), k=self.rng.choice((1, 1, 2)))
        return list(dict.fromkeys(chosen))

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while self.chaos.is_set() and time.monotonic() < until:
            time.sleep(0.05)
