"""Caps: how many samples may share a step, and how many rows it has. Plain Python, no torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.gpu.samples import BatchKey

FULL_STEPS = 100
"""Steps at a lowered cap before it is raised: a raise that fails costs about as much as one."""


@dataclass(slots=True)
class Lowered:
    """What memory had room for, and the steps of that size since."""

    rows: int
    steps: int = 0


class Caps:
    """The rows of each step: a bucket, no more than the model's card and the memory allow.

    Running out of memory halves the cap of that model and shape. After `FULL_STEPS` steps at the
    lowered cap it is raised to the next bucket. Strict samples have one bucket, whatever happens.
    """

    def __init__(
        self, most: Callable[[BatchKey], int], *, buckets: Sequence[int], strict_bucket: int
    ) -> None:
        """`most` is the card's limit."""
        self._most = most
        self._buckets = tuple(sorted(buckets))
        self._strict_bucket = strict_bucket
        self._lowered: dict[BatchKey, Lowered] = {}

    def samples(self, key: BatchKey) -> int:
        """How many samples of a key may share a step."""
        if key.strict:
            return min(self._strict_bucket, self._most(key))
        lowered = self._lowered.get(key)
        return lowered.rows if lowered else self._usual(key)

    def rows(self, key: BatchKey, samples: int) -> int:
        """What a step of so many samples is padded to."""
        if key.strict:
            return self.samples(key)
        bucket = next(bucket for bucket in self._buckets if bucket >= samples)
        return min(bucket, self.samples(key))

    def can_lower(self, key: BatchKey, rows: int) -> bool:
        """Whether fewer rows may be tried."""
        return rows > 1 and not key.strict

    def lower(self, key: BatchKey, rows: int) -> int:
        """So many rows did not fit; the cap from here on."""
        self._lowered[key] = Lowered(rows // 2)
        return rows // 2

    def fitted(self, key: BatchKey, rows: int) -> None:
        """A step of so many rows did fit."""
        lowered = self._lowered.get(key)
        if lowered is None or rows < lowered.rows:
            return
        lowered.steps += 1
        if lowered.steps == FULL_STEPS:
            self._raise(key, lowered.rows)

    def _raise(self, key: BatchKey, rows: int) -> None:
        above = next((bucket for bucket in self._buckets if bucket > rows), self._usual(key))
        if above < self._usual(key):
            self._lowered[key] = Lowered(above)
        else:
            del self._lowered[key]

    def _usual(self, key: BatchKey) -> int:
        return min(self._most(key), self._buckets[-1])
