"""Engine: the only thread that touches the device."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from shared.errors import OutOfMemory
from worker.gpu import metrics
from worker.gpu.batcher import Batcher
from worker.gpu.caps import Caps
from worker.gpu.families import DeviceLost, DeviceMemoryFull, Pipeline
from worker.gpu.pipelines import WarmPipelines
from worker.gpu.samples import Batch, Sample

T = TypeVar("T")

log = logging.getLogger(__name__)

BUCKETS = (1, 2, 3, 4, 5, 6, 7, 8)
"""Every count: no row is filled up, for a few more shapes to compile."""
STRICT_BUCKET = 1
"""The one that every card allows, that fits wherever anything fits, and that pads nothing."""
TOO_LARGE = "the request does not fit on the device"
TOO_LARGE_IF_STRICT = f"{TOO_LARGE}; with determinism strict nothing smaller is tried"


class EngineStopped(Exception):
    """The engine has stopped; the sample is nobody's fault and can be given to another worker."""


class Engine:
    """Batches the samples of all jobs, step by step: they join and leave between steps.

    A sample's bits depend on the bucket that its batch is padded to, never on its neighbours.
    """

    def __init__(
        self,
        pipelines: WarmPipelines,
        *,
        buckets: Sequence[int] = BUCKETS,
        strict_bucket: int = STRICT_BUCKET,
        on_device_lost: Callable[[BaseException], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`on_device_lost` is told, on a thread of ours, why no sample will ever run again."""
        self._pipelines = pipelines
        self._warm_buckets = tuple(sorted({*buckets, strict_bucket}))
        self._on_device_lost = on_device_lost
        self._clock = clock
        self._caps = Caps(
            lambda key: pipelines.get(key.model_id).card.max_batch,
            buckets=buckets,
            strict_bucket=strict_bucket,
        )
        self._batcher = Batcher(self._caps.samples)
        self._changed = threading.Condition()
        self._stopping = False
        self._warm: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._progress_at = clock()
        self._developing: deque[Sample] = deque()
        """Out of the batcher: their pictures are on the way from the device."""
        self._turned_away: list[Sample] = []
        """Others hold the memory that they need."""
        self.steps = 0
        """Denoiser forwards in the life of the process."""
        self.rows = 0
        """Samples in those forwards, padding not counted."""

    @property
    def occupancy(self) -> float:
        """Mean samples per denoiser forward."""
        return self.rows / self.steps if self.steps else 0.0

    @property
    def pending(self) -> int:
        """Samples that wait or run."""
        with self._changed:
            return len(self._batcher) + len(self._developing)

    @property
    def stalled_for(self) -> float:
        """Seconds since a device call came back while samples are pending; 0.0 when idle."""
        return self._clock() - self._progress_at if self.pending else 0.0

    def start(self) -> None:
        """Warm the models up and take samples; returns when warm, raises what that raises."""
        self._thread.start()
        self._warm.result()

    def stop(self, timeout: float = 30.0) -> None:
        """End after the step that is running; what is left fails with `EngineStopped`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)
            if self._thread.is_alive():  # and may still answer: the process has to end it
                log.error("the engine does not stop", extra={"seconds": timeout})
                return
        self._fail_all(EngineStopped, "the engine was stopped")

    def submit(self, samples: Iterable[Sample], *, timeout: float | None = None) -> None:
        """Queue samples; each answers by its `done`, and cancelling that takes it out again.

        Loads the model if need be, on this thread. Raises `EngineStopped`, what `pin` raises, or
        what the family says against the prompts.
        """
        samples = list(samples)
        try:
            self._prepare(samples, timeout)
            self._queue(samples)
        except BaseException as error:
            for sample in samples:
                self._pipelines.unpin(sample)
            if isinstance(error, DeviceLost):  # an idle engine would not notice it
                self._give_up(error)
            raise

    def _prepare(self, samples: list[Sample], timeout: float | None) -> None:
        for model_id in dict.fromkeys(sample.model_id for sample in samples):
            of_model = [sample for sample in samples if sample.model_id == model_id]
            pipeline = self._pipelines.pin(of_model, timeout=timeout)
            for sample in of_model:
                pipeline.prepare(sample)

    def _queue(self, samples: list[Sample]) -> None:
        with self._changed:
            if self._stopping:
                raise EngineStopped("the engine has stopped")
            if not len(self._batcher):
                self._progress_at = self._clock()
            self._batcher.add(samples)
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            self._pipelines.warm_up(self._warm_buckets)
        except Exception as error:
            log.exception("warm-up failed")
            self._warm.set_exception(error)
            return
        self._warm.set_result(None)
        try:
            self._serve()
        except Exception as error:
            log.exception("the engine cannot go on")
            self._give_up(error)

    def _serve(self) -> None:
        while not self._stopping:
            # What a turn holds ends with it: an engine that waits keeps no model from eviction.
            self._take_turn()

    def _take_turn(self) -> None:
        batch = self._next_batch()
        if batch is None:
            self._hand_back()
            return
        pipeline = self._pipelines.get(batch.key.model_id)
        self._admit(pipeline, batch)
        self._step(pipeline, batch)
        # Now that the device has the next step, reading the last one's pictures costs it nothing.
        self._hand_back()
        self._develop(pipeline, batch)

    def _next_batch(self) -> Batch | None:
        """Who takes the next step; None when nobody does, but pictures are on their way."""
        with self._changed:
            while not self._stopping:
                for sample in self._batcher.remove_done():
                    metrics.CANCELLED.inc()
                    sample.forget()
                if (batch := self._batcher.next_batch()) is not None:
                    return batch
                if self._developing:
                    return None
                self._changed.wait()
        return None

    def _admit(self, pipeline: Pipeline, batch: Batch) -> None:
        for sample in batch.samples:
            if sample.denoising is None and not sample.done.done() and self._has_room(sample):
                sample.began = self._clock()
                self._attempt(sample, pipeline.begin, sample)

    def _step(self, pipeline: Pipeline, batch: Batch) -> None:
        if ready := [sample for sample in _ongoing(batch) if sample.step < sample.total]:
            for sample, prediction in self._predict(pipeline, batch, ready):
                self._attempt(sample, pipeline.advance, sample, prediction)

    def _develop(self, pipeline: Pipeline, batch: Batch) -> None:
        for sample in _ongoing(batch):
            if sample.step == sample.total:
                sample.painted = self._clock()
                is_coming = self._attempt(sample, pipeline.develop, sample)
                if is_coming is not None:
                    self._developing.append(sample)
                    self._remove(sample)
                if is_coming is False:
                    self._hand_back()

    def _hand_back(self) -> None:
        while self._developing:
            sample = self._developing[0]
            if sample.done.done():
                metrics.CANCELLED.inc()
                sample.forget()
                self._developing.popleft()
                continue
            pipeline = self._pipelines.get(sample.model_id)
            picture = self._attempt(sample, pipeline.finish, sample)
            self._developing.popleft()
            if picture is not None:
                metrics.FINISHED.inc()
                sample.succeed(picture)

    def _predict(
        self, pipeline: Pipeline, batch: Batch, samples: list[Sample]
    ) -> list[tuple[Sample, Any]]:
        rows = self._caps.rows(batch.key, len(samples))
        try:
            predictions = self._forward(pipeline, samples, rows)
            self._caps.fitted(batch.key, rows)
            return list(zip(samples, predictions, strict=True))
        except DeviceMemoryFull:
            fits = False
        except DeviceLost:
            raise
        except Exception:
            log.exception("a step of %d samples failed; trying them one by one", len(samples))
            fits = True
        if not fits and self._caps.can_lower(batch.key, rows):
            cap = self._caps.lower(batch.key, rows)
            log.warning("out of memory: at most %d samples a step", cap, extra={"key": batch.key})
            return []
        return self._predict_alone(pipeline, samples, rows)

    def _predict_alone(
        self, pipeline: Pipeline, samples: list[Sample], rows: int
    ) -> list[tuple[Sample, Any]]:
        # Padded to the rows of the batch that failed, so that the good samples keep their bits.
        alone = [(s, self._attempt(s, self._forward, pipeline, [s], rows)) for s in samples]
        return [(sample, predictions[0]) for sample, predictions in alone if predictions]

    def _forward(self, pipeline: Pipeline, samples: list[Sample], rows: int) -> list[Any]:
        started = self._clock()
        predictions = pipeline.predict(samples, rows)
        self._progressed()
        self.steps += 1
        self.rows += len(samples)
        seconds = self._progress_at - started
        metrics.record_step(samples=len(samples), rows=rows, seconds=seconds)
        return predictions

    def _attempt(self, sample: Sample, work: Callable[..., T], *args: Any) -> T | None:
        """Device work for one sample: its failure concerns nobody else, and answers with None."""
        failure: Exception
        try:
            done = work(*args)
            self._progressed()
            return done
        except DeviceLost:
            raise
        except DeviceMemoryFull:
            if self._others(sample):
                self._turn_away(sample)
                return None
            failure = OutOfMemory(TOO_LARGE_IF_STRICT if sample.strict else TOO_LARGE)
        except Exception as error:
            log.exception("sample failed", extra={"job_id": sample.job_id})
            failure = error
        self._remove(sample)
        metrics.FAILED.inc()
        sample.fail(failure)
        return None

    def _others(self, sample: Sample) -> bool:
        """Whether other samples hold memory of the device."""
        return any(other is not sample for other in (*self._batcher.begun, *self._developing))

    def _turn_away(self, sample: Sample) -> None:
        log.warning("out of memory: begins again, alone", extra={"job_id": sample.job_id})
        metrics.RESTARTED.inc()
        sample.restart()
        self._turned_away.append(sample)
        with self._changed:
            self._batcher.put_back(sample)

    def _has_room(self, sample: Sample) -> bool:
        """While somebody waits for memory nobody begins but alone, so that some gets free."""
        waiting = [s for s in self._turned_away if s.denoising is None and not s.done.done()]
        self._turned_away = waiting
        return not waiting or not self._others(sample)

    def _progressed(self) -> None:
        self._progress_at = self._clock()

    def _remove(self, sample: Sample) -> None:
        with self._changed:
            self._batcher.remove(sample)

    def _give_up(self, error: Exception) -> None:
        with self._changed:
            self._stopping = True
        self._fail_all(DeviceLost, str(error))
        self._on_device_lost(error)

    def _fail_all(self, kind: type[Exception], message: str) -> None:
        with self._changed:
            left = [*self._developing, *self._batcher.remove_all()]
            self._developing.clear()
        metrics.FAILED.inc(len(left))
        for sample in left:
            sample.fail(kind(message))


def _ongoing(batch: Batch) -> list[Sample]:
    """Those that have begun and that somebody still waits for."""
    return [s for s in batch.samples if s.denoising is not None and not s.done.done()]
