"""A device that only counts time: our own engine runs on it, and its rivals do beside it."""

import random
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shared.models import ModelCard
from worker.gpu.engine import BUCKETS, Engine
from worker.gpu.pipelines import WarmPipelines
from worker.gpu.samples import Picture, Sample

ENCODE, DECODE = 0.004, 0.007
"""Seconds for one image."""
CAP = 8
PATIENCE = 300
MODEL = "simulated"
IMAGE = np.zeros((512, 512, 3), np.uint8)


def step_seconds(rows: int) -> float:
    """One denoiser forward of so many images: flat while the device is not full, then linear."""
    return max(0.007, 0.0031 + 0.0039 * rows)


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Run:
    """What became of the requests: seconds from arrival to picture, in order of arrival."""

    latencies: list[float]
    forwards: int
    samples: int
    """In those forwards, in all."""
    rows: int
    """The samples and what filled their batches up."""


def poisson(
    mix: Sequence[tuple[int, float, float]], *, rate: float, count: int, seed: int
) -> list[Request]:
    """Arrivals that wait for nobody; another rate only stretches the same ones."""
    draw = random.Random(seed)
    arrival, made = 0.0, []
    for _ in range(count):
        arrival += draw.expovariate(1.0) / rate
        made.append(Request(arrival, *draw.choice(mix)))
    return made


def batched_whole(
    requests: Sequence[Request],
    key: Callable[[Request], Hashable],
    buckets: Sequence[int] = BUCKETS,
) -> Run:
    """The device takes the oldest and up to `CAP` that agree with it, and runs them to the end.

    It runs the kernels that the engine runs, so its batches are padded to the same buckets.
    """
    coming, waiting = deque(requests), deque[Request]()
    finished: dict[int, float] = {}
    now, forwards, samples, padded = 0.0, 0, 0, 0
    while coming or waiting:
        if not waiting:
            now = max(now, coming[0].arrival)
        while coming and coming[0].arrival <= now:
            waiting.append(coming.popleft())
        agreed = key(waiting[0])
        batch = [request for request in waiting if key(request) == agreed][:CAP]
        calls = max(request.calls for request in batch)
        rows = next(bucket for bucket in buckets if bucket >= len(batch))
        now += len(batch) * ENCODE + calls * step_seconds(rows)
        forwards, samples = forwards + calls, samples + calls * len(batch)
        padded += calls * rows
        for request in batch:
            waiting.remove(request)
            now += DECODE
            finished[id(request)] = now
    latencies = [finished[id(request)] - request.arrival for request in requests]
    return Run(latencies, forwards, samples, padded)


def batched_by_step(requests: Sequence[Request], buckets: Sequence[int] = BUCKETS) -> Run:
    """The engine of the service, batcher and buckets included, on the counted time."""
    device = SimulatedDevice(requests)
    pipelines = WarmPipelines([device.card], "cpu", lambda _card, _device: device)
    engine = Engine(
        pipelines,
        buckets=buckets,
        on_device_lost=device.end.set_exception,
        clock=lambda: device.now,
    )
    engine.start()
    try:
        return device.serve(engine)
    finally:
        engine.stop()


class SimulatedDevice:
    """A model as the engine sees it. Each call moves the clock, and with it come arrivals.

    Once running, all of it happens on the engine's thread: the same requests, the same answer.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self.card = ModelCard(model_id=MODEL, family="sd", source=Path(), max_batch=CAP)
        self.now = 0.0
        self.end: Future[None] = Future()
        self._requests = requests
        self._coming: deque[Request] = deque()
        self._finished: dict[int, float] = {}
        self._rows = 0

    def serve(self, engine: Engine) -> Run:
        """Play the arrivals to the end."""
        self._engine = engine
        self.now, self._rows = 0.0, 0  # the engine's warm-up is not counted
        self._coming.extend(self._requests)
        self._jump()
        self.end.result(PATIENCE)
        latencies = [self._finished[id(r)] - r.arrival for r in self._requests]
        return Run(latencies, engine.steps, engine.rows, self._rows)

    def prepare(self, sample: Sample) -> None:
        """No prompt needs room of its own."""

    def begin(self, sample: Sample) -> None:
        """See `Pipeline`."""
        sample.total = int(sample.steps * sample.strength)
        sample.denoising = True
        self._spend(ENCODE)

    def predict(self, samples: Sequence[Sample], rows: int) -> list[None]:
        """See `Pipeline`."""
        self._rows += rows
        self._spend(step_seconds(rows))
        return [None] * len(samples)

    def warm_up(self, sample: Sample, rows: int) -> list[None]:
        """See `Pipeline`."""
        return self.predict([sample], rows)

    def advance(self, sample: Sample, _prediction: None) -> None:
        """See `Pipeline`."""
        sample.step += 1

    def develop(self, _sample: Sample) -> bool:
        """See `Pipeline`."""
        return False

    def finish(self, sample: Sample) -> Picture:
        """See `Pipeline`."""
        self._spend(DECODE)
        return Picture(sample.image, sample.step)

    def _spend(self, seconds: float) -> None:
        self.now += seconds
        self._arrive()

    def _jump(self) -> None:
        self.now = max(self.now, self._coming[0].arrival)
        self._arrive()

    def _arrive(self) -> None:
        arrived = []
        while self._coming and self._coming[0].arrival <= self.now:
            arrived.append(self._sample(self._coming.popleft()))
        if arrived:
            self._engine.submit(arrived)

    def _sample(self, request: Request) -> Sample:
        sample = Sample(
            job_id=0,
            model_id=MODEL,
            prompt="",
            negative_prompt="",
            image=IMAGE,
            mask=None,
            height=IMAGE.shape[0],
            width=IMAGE.shape[1],
            steps=request.steps,
            strength=request.strength,
            guidance_scale=request.guidance,
            scheduler="",
            seed=0,
        )
        sample.done.add_done_callback(lambda done: self._leave(request, done))
        return sample

    def _leave(self, request: Request, done: "Future[Picture]") -> None:
        if error := done.exception():
            self.end.set_exception(error)
            return
        self._finished[id(request)] = self.now
        if len(self._finished) == len(self._requests):
            self.end.set_result(None)
        elif self._engine.pending == 0:  # nothing to do until somebody comes
            self._jump()
