"""Batcher: which samples go together. Plain Python, no torch."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from worker.gpu.samples import Batch, BatchKey, Sample

LEAST = 2 * 512 * 512
"""Pixel rows of a guided image: with less a step takes no less time, since no device is full."""


@dataclass(eq=False, slots=True)
class Queue:
    """The samples of one key, oldest first: as many as the cap allows run, the rest wait."""

    key: BatchKey
    samples: list[Sample] = field(default_factory=list)
    credit: int = 0
    """Device work that the key may still take in this turn, in pixel rows of the denoiser."""


class Batcher:
    """Within a key the oldest samples go first; keys take turns.

    Turns are deficit round robin: each is worth the dearest step at hand, what is left of it is
    kept for the next one, and a new key joins at the end. So every key gets the same device time,
    however large its images, and between two of its turns no other key has more than one.
    """

    def __init__(self, cap: Callable[[BatchKey], int]) -> None:
        """`cap` says how many samples of a key may share a step."""
        self._cap = cap
        self._queues: dict[BatchKey, Queue] = {}
        self._ring: deque[Queue] = deque()
        self._turn: Queue | None = None

    def __len__(self) -> int:
        return sum(len(queue.samples) for queue in self._queues.values())

    def add(self, samples: Iterable[Sample]) -> None:
        """Samples wait from here on; each is batched until it is removed."""
        for sample in samples:
            key = sample.key
            if key not in self._queues:
                self._queues[key] = Queue(key)
                self._ring.append(self._queues[key])
            self._queues[key].samples.append(sample)

    def put_back(self, sample: Sample) -> None:
        """A sample has to begin again, before the others that have not begun.

        Those that have come first: it waits for their memory, so they must not wait for its place.
        """
        if sample not in self:
            self.add([sample])
        samples = self._queues[sample.key].samples
        samples.remove(sample)
        samples.insert(sum(s.denoising is not None for s in samples), sample)

    @property
    def begun(self) -> list[Sample]:
        """The samples that hold memory of the device."""
        queues = self._queues.values()
        return [s for queue in queues for s in queue.samples if s.denoising is not None]

    def __contains__(self, sample: Sample) -> bool:
        queue = self._queues.get(sample.key)
        return queue is not None and sample in queue.samples

    def next_batch(self) -> Batch | None:
        """Who takes the next step; None without samples."""
        if not self._queues:
            return None
        queue = self._whose_turn()
        queue.credit -= self._cost(queue)
        return Batch(queue.key, tuple(queue.samples[: self._cap(queue.key)]))

    def remove(self, sample: Sample) -> None:
        """The sample has ended, if it is still there; its place is free from the next batch on."""
        if sample not in self:
            return
        queue = self._queues[sample.key]
        queue.samples.remove(sample)
        if not queue.samples:
            self._close(queue)

    def remove_done(self) -> list[Sample]:
        """Remove every sample whose future nobody waits for any more."""
        queues = self._queues.values()
        done = [sample for queue in queues for sample in queue.samples if sample.done.done()]
        for sample in done:
            self.remove(sample)
        return done

    def remove_all(self) -> list[Sample]:
        """Remove every sample, oldest first within a key."""
        left = [sample for queue in self._queues.values() for sample in queue.samples]
        for sample in left:
            self.remove(sample)
        return left

    def _whose_turn(self) -> Queue:
        if self._turn is not None and self._turn.credit >= self._cost(self._turn):
            return self._turn
        if self._turn is not None:
            self._ring.append(self._turn)
        self._turn = self._ring.popleft()
        self._turn.credit += max(self._cost(queue) for queue in self._queues.values())
        return self._turn

    def _cost(self, queue: Queue) -> int:
        key = queue.key
        rows = min(len(queue.samples), self._cap(key))
        return max(LEAST, rows * (1 + key.guided) * (1 + key.context) * key.height * key.width)

    def _close(self, queue: Queue) -> None:
        del self._queues[queue.key]
        if queue is self._turn:
            self._turn = None
        else:
            self._ring.remove(queue)
