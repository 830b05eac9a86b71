"""When somebody asks, and for what on the simulated device."""

import math
import random
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate

Mix = Sequence[tuple[int, float, float]]
"""Steps, strength and guidance: each request draws one of them."""

PERIOD, BUSY, CALM = 20.0, 1.5, 0.5
"""Seconds of a burst and the lull after it, as long; how many times the mean rate each has."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One image that somebody asks for, and when."""

    arrival: float
    steps: int
    strength: float
    guidance: float

    @property
    def calls(self) -> int:
        """Denoiser calls, counted as diffusers counts them."""
        return int(self.steps * self.strength)


def poisson_times(rate: float, count: int, *, seed: int) -> list[float]:
    """Seconds from now at which so many come who wait for nobody."""
    draw = random.Random(seed)
    return list(accumulate(draw.expovariate(rate) for _ in range(count)))


def paced(times: Iterable[float]) -> Iterator[None]:
    """Come back at each of them, in seconds from now, or at once if it is over."""
    began = time.monotonic()
    for at in times:
        time.sleep(max(0.0, began + at - time.monotonic()))
        yield


def poisson(mix: Mix, *, rate: float, count: int, seed: int) -> list[Request]:
    """Arrivals that wait for nobody; another rate only stretches the same ones."""
    return [Request(moment / rate, *one) for moment, one in _drawn(tuple(mix), count, seed)]


@lru_cache(maxsize=1)  # a search asks again and again
def _drawn(mix: Mix, count: int, seed: int) -> list[tuple[float, tuple[int, float, float]]]:
    draw = random.Random(seed)
    moment, made = 0.0, []
    for _ in range(count):
        moment += draw.expovariate(1.0)
        made.append((moment, draw.choice(mix)))
    return made


def bursts(requests: Sequence[Request]) -> list[Request]:
    """The same requests, as many in all, but by turns `BUSY` and `CALM` times as dense."""
    return [replace(request, arrival=_crowded(request.arrival)) for request in requests]


def _crowded(moment: float) -> float:
    periods, rest = divmod(moment, PERIOD)
    in_burst = BUSY * PERIOD / 2
    if rest <= in_burst:
        return periods * PERIOD + rest / BUSY
    return periods * PERIOD + PERIOD / 2 + (rest - in_burst) / CALM


class Traffic:
    """Hands requests out when they are due, and notes how long each took.

    In a closed loop of `clients` only the first ones come by the clock: each asks again once it is
    answered.
    """

    def __init__(self, requests: Sequence[Request], clients: int | None = None) -> None:
        first = len(requests) if clients is None else clients
        self._coming = deque(requests[:first])
        self._behind = deque(requests[first:])
        self._ended: dict[Request, float] = {}
        self._left = len(requests)

    @property
    def next_arrival(self) -> float | None:
        """None: nobody comes any more, or not before somebody is answered."""
        return self._coming[0].arrival if self._coming else None

    @property
    def is_over(self) -> bool:
        """Whether everybody has a picture."""
        return self._left == 0

    @property
    def served(self) -> list[tuple[Request, float]]:
        """In order of arrival: who, and the seconds from arrival to picture."""
        return [(request, end - request.arrival) for request, end in self._ended.items()]

    def arrived(self, now: float) -> list[Request]:
        """Those who came since the last call."""
        came = []
        while self._coming and self._coming[0].arrival <= now:
            came.append(self._coming.popleft())
        if came:
            self._ended |= dict.fromkeys(came, math.nan)
        return came

    def end(self, request: Request, now: float) -> None:
        """The picture is there."""
        self._ended[request] = now
        self._left -= 1
        if self._behind:
            self._coming.append(replace(self._behind.popleft(), arrival=now))
