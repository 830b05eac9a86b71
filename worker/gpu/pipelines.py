"""WarmPipelines: which models are loaded, within a budget of memory."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from shared.errors import NoPicture, OutOfMemory, TimedOut
from shared.models import ModelCard
from worker.gpu import metrics
from worker.gpu.families import DeviceMemoryFull, Pipeline
from worker.gpu.memory import Memory, Plenty
from worker.gpu.samples import Sample

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Warm:
    """A loaded model."""

    pipeline: Pipeline
    used: int
    """The turn in which it was last pinned."""
    pinned_by: set[Sample] = field(default_factory=set)
    leaving: bool = False
    """Takes no more samples, so that it can be evicted for a model whose turn it is."""


@dataclass(eq=False, slots=True)
class Waiting:
    """Samples in the line for a model; `warm` is set by whichever thread pins it for them."""

    card: ModelCard
    samples: Sequence[Sample]
    deadline: float
    warm: Warm | None = None


class WarmPipelines:
    """Models are loaded by the threads that submit samples, one at a time, and evicted unused.

    Who needs a model that is not loaded joins a line. The first of the line chooses, once, which
    models go, unused and least recently used ones first; from then on those take no new samples,
    so they are free as soon as the running ones end, whatever else is asked for. Requests for the
    other warm models pass by. A loaded model serves all that waited for it.
    """

    def __init__(
        self,
        cards: Iterable[ModelCard],
        device: str,
        load: Callable[[ModelCard, str], Pipeline],
        *,
        memory: Memory | None = None,
        first: str = "",
    ) -> None:
        """Load the model `first`, then those that still fit, in order.

        Raises `ValueError` for a model that alone is over the budget, and what `load` raises: a
        worker that cannot serve its models does not start.
        """
        self._cards = {card.model_id: card for card in cards}
        self._device = device
        self._load_onto = load
        self._memory = memory or Plenty()
        self._warm: dict[str, Warm] = {}
        self._line: list[Waiting] = []
        self._loading, self._turn = False, 0
        self._changed = threading.Condition()
        for card in self._cards.values():
            if too_large := self._too_large(card):
                raise ValueError(too_large)
        for card in sorted(self._cards.values(), key=lambda card: card.model_id != first):
            if not self._victims(card):
                self._load(card)

    def get(self, model_id: str) -> Pipeline:
        """A loaded model; raises `KeyError` for another, which no pinned one is."""
        return self._warm[model_id].pipeline

    @property
    def loaded(self) -> set[str]:
        """Ids of the models in memory."""
        with self._changed:
            return set(self._warm)

    def serves(self, model_id: str) -> bool:
        """Whether this worker may load the model."""
        return model_id in self._cards

    def load(self, model_id: str, *, timeout: float) -> None:
        """Have a model in memory without a request for it; raises what `pin` raises."""
        card = self._cards[model_id]
        sample = _blank(card, card.limits.min_side, 1.0)
        self.pin([sample], timeout=timeout)
        self.unpin(sample)

    def pin(self, samples: Sequence[Sample], *, timeout: float | None = None) -> Pipeline:
        """The model of these samples, all of one; it stays until each of them has `ended`.

        Raises `KeyError` for an unknown one, `TimedOut` without room for `timeout` seconds,
        `CancelledError` once nobody waits for the samples, `OutOfMemory`, or what loading raises.
        """
        deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        waiting = Waiting(self._cards[samples[0].model_id], samples, deadline)
        self._line.append(waiting)
        try:
            with metrics.MODEL_WAITING.track_inprogress():
                for sample in samples:
                    sample.done.add_done_callback(self._wake)
                if self._is_to_load(waiting):
                    self._load_for(waiting)
        finally:
            with self._changed:
                self._line.remove(waiting)
                self._changed.notify_all()
            for sample in samples:
                sample.loading = False
        assert waiting.warm is not None
        return waiting.warm.pipeline

    def unpin(self, sample: Sample) -> None:
        """The engine has let go of the sample, or never got it."""
        with self._changed:
            if warm := self._warm.get(sample.model_id):
                warm.pinned_by.discard(sample)
                self._changed.notify_all()

    def warm_up(self, buckets: Sequence[int]) -> None:
        """Run every batch size of the loaded models once, so that no request pays for a first time.

        Models that are loaded later are not: it would stop every sample of the worker meanwhile.
        """
        for pipeline in [warm.pipeline for warm in self._warm.values()]:
            started = time.monotonic()
            card = pipeline.card
            side, sizes = self._warm_shapes(card, buckets)
            for guidance_scale in (7.5, 1.0):
                _run_once(pipeline, _blank(card, side, guidance_scale), sizes)
            report = {"side": side, "batches": list(sizes), "compile": card.compile}
            seconds = round(time.monotonic() - started, 3)
            log.info("model warm", extra={"model_id": card.model_id, "seconds": seconds, **report})

    def _is_to_load(self, waiting: Waiting) -> bool:
        """Wait until the model is pinned, or until it is this thread that has to load it."""
        with self._changed:
            while not self._take(waiting):
                for sample in waiting.samples:
                    sample.loading = True
                if self._line[0] is waiting and not self._loading:
                    self._loading = True
                    return True
                self._wait(waiting)
        return False

    def _take(self, waiting: Waiting) -> bool:
        """Pin the model, if it is loaded and stays."""
        warm = self._warm.get(waiting.card.model_id)
        if waiting.warm is None and warm is not None and not warm.leaving:
            self._turn += 1
            warm.used = self._turn
            warm.pinned_by.update(waiting.samples)
            for sample in waiting.samples:
                sample.ended = self.unpin
            waiting.warm = warm
        return waiting.warm is not None

    def _wait(self, waiting: Waiting) -> None:
        if all(sample.done.done() for sample in waiting.samples):
            raise CancelledError
        left = waiting.deadline - time.monotonic()
        if left <= 0:
            raise TimedOut(f"There was no room for the model {waiting.card.model_id} in time")
        self._changed.wait(min(left, threading.TIMEOUT_MAX))

    def _wake(self, _: object) -> None:
        with self._changed:
            self._changed.notify_all()

    def _load_for(self, waiting: Waiting) -> None:
        card = waiting.card
        try:
            if too_large := self._too_large(card):
                raise OutOfMemory(too_large)
            while victims := self._victims(card):
                self._evict(victims, waiting)
            self._load(card)
            with self._changed:
                for other in self._line:
                    if other.card is card:
                        self._take(other)
        finally:
            with self._changed:
                self._loading = False
                for warm in self._warm.values():
                    warm.leaving = False

    def _load(self, card: ModelCard) -> None:
        started = time.monotonic()
        try:
            pipeline = self._load_onto(card, self._device)
        except DeviceMemoryFull:
            raise OutOfMemory(f"The model {card.model_id} does not fit on the device") from None
        with self._changed:
            self._warm[card.model_id] = Warm(pipeline, self._turn)
        seconds = time.monotonic() - started
        metrics.record_load(card.model_id, seconds, self._memory.held([card.model_id]))
        log.info("model loaded", extra={"model_id": card.model_id, "seconds": round(seconds, 3)})

    def _victims(self, card: ModelCard) -> list[str]:
        """Which models have to go so that this one fits: unused ones first, and the oldest."""
        with self._changed:
            order = [(bool(w.pinned_by), w.used, name) for name, w in self._warm.items()]
        names = [name for _, _, name in sorted(order)]
        left = self._memory.budget - self._memory.would_add(card)
        enough = (n for n in range(len(names)) if self._memory.held(names[n:]) <= left)
        return names[: next(enough, len(names))]

    def _evict(self, victims: Sequence[str], waiting: Waiting) -> None:
        with self._changed:
            for name in victims:
                self._warm[name].leaving = True
            while any(self._warm[name].pinned_by for name in victims):
                self._wait(waiting)
            for name in victims:
                del self._warm[name]
        self._memory.give_back()
        for name in victims:
            metrics.record_eviction(name)
            log.info("model evicted", extra={"model_id": name})

    def _too_large(self, card: ModelCard) -> str | None:
        needed, room = (size / 2**30 for size in (self._memory.needs(card), self._memory.budget))
        words = f"The model {card.model_id} takes {needed:.1f} GiB, for models there are {room:.1f}"
        return words if needed > room else None

    def _warm_shapes(self, card: ModelCard, buckets: Sequence[int]) -> tuple[int, Sequence[int]]:
        # A CPU picks no kernels and captures no graphs: one tiny pass proves that the model runs.
        if self._device == "cpu":
            return card.limits.min_side, (1,)
        return card.limits.default_side, sorted({min(b, card.max_batch) for b in buckets})


def _run_once(pipeline: Pipeline, sample: Sample, sizes: Sequence[int]) -> None:
    pipeline.prepare(sample)
    pipeline.begin(sample)
    predictions = [pipeline.warm_up(sample, rows) for rows in sizes]
    pipeline.advance(sample, predictions[0][0])
    with suppress(NoPicture):  # a blank picture of one step may be none
        pipeline.finish(sample)


def _blank(card: ModelCard, side: int, guidance_scale: float) -> Sample:
    return Sample(
        job_id=0,
        model_id=card.model_id,
        prompt="",
        negative_prompt="",
        height=side,
        width=side,
        image=np.zeros((side, side, 3), np.uint8),
        # With a mask, because some checkpoints take no image without; the forward is the same.
        mask=np.full((side, side), 255, np.uint8),
        steps=1,
        strength=1.0,
        guidance_scale=guidance_scale,
        scheduler=card.scheduler,
        seed=0,
        distilled=card.distilled,
    )
