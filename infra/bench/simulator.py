"""A device that only counts time, and our own engine on it."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infra.bench.arrivals import Mix, Request, Traffic
from infra.bench.knee import MOST, knee
from shared.models import ModelCard
from worker.gpu.engine import BUCKETS, Engine
from worker.gpu.pipelines import WarmPipelines
from worker.gpu.samples import Picture, Sample

PATIENCE = 300
MODEL = "simulated"
IMAGE = np.zeros((512, 512, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Profile:
    """How long a device takes for a model, in seconds."""

    least: float
    """A denoiser forward, while the device is not full; from there on it is linear."""
    fixed: float
    each: float
    """Of one image in a forward."""
    encode: float
    decode: float
    """One image."""
    slo: float
    """What a picture may take."""

    @property
    def cap(self) -> int:
        """Images that share a forward at the most, where nobody chooses otherwise."""
        curve = {rows: self.step_seconds(rows) for rows in range(1, MOST + 1)}
        return min(knee(curve), BUCKETS[-1])

    def step_seconds(self, rows: int) -> float:
        """One forward of so many images."""
        return max(self.least, self.fixed + self.each * rows)

    def alone(self, request: Request) -> float:
        """From arrival to picture, with nobody else there."""
        return self.encode + request.calls * self.step_seconds(1) + self.decode

    def capacity(self, mix: Mix, batch: int) -> float:
        """Images a second if so many shared every forward."""
        calls = np.mean([Request(0.0, *one).calls for one in mix])
        step = self.step_seconds(batch) / batch
        return float(1 / (self.encode + self.decode + calls * step))


SD15 = Profile(least=0.007, fixed=0.0031, each=0.0039, encode=0.004, decode=0.007, slo=2.0)
"""Stable Diffusion 1.5 at 512 pixels on a card that comes to half of its matrix rate."""
SDXL = Profile(least=0.04, fixed=0.004, each=0.027, encode=0.018, decode=0.04, slo=10.0)
"""At 1024 pixels, where one image nearly fills the card."""


@dataclass(frozen=True, slots=True)
class Run:
    """What became of the requests."""

    latencies: list[float]
    """Seconds from arrival to picture, in order of arrival."""
    slowdowns: list[float]
    """How many times what each would have taken alone."""
    steps: Counter[tuple[int, int]]
    """Forwards by their samples, and their rows: what filled the batch up is among these."""
    seconds: float
    """From nought to the last picture."""
    joins: tuple[float, ...] = ()
    """Seconds from arrival to the first forward, of those who found fewer than the cap."""

    @property
    def forwards(self) -> int:
        """Of the denoiser."""
        return self.steps.total()

    @property
    def samples(self) -> int:
        """In those forwards, in all."""
        return sum(samples * count for (samples, _), count in self.steps.items())

    @property
    def rows(self) -> int:
        """The samples and what filled their batches up."""
        return sum(rows * count for (_, rows), count in self.steps.items())


def run_of(
    traffic: Traffic, profile: Profile, steps: Counter[tuple[int, int]], joins: Sequence[float] = ()
) -> Run:
    """The account of traffic that is over."""
    served = traffic.served
    return Run(
        latencies=[seconds for _, seconds in served],
        slowdowns=[seconds / profile.alone(request) for request, seconds in served],
        steps=steps,
        seconds=max(request.arrival + seconds for request, seconds in served),
        joins=tuple(joins),
    )


def batched_by_engine(traffic: Traffic, profile: Profile, cap: int) -> Run:
    """The engine of the service, batcher and buckets included, on the counted time."""
    device = SimulatedDevice(traffic, profile, cap)
    pipelines = WarmPipelines([device.card], "cpu", lambda _card, _device: device)
    engine = Engine(
        pipelines,
        on_device_lost=device.over.set_exception,
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

    def __init__(self, traffic: Traffic, profile: Profile, cap: int) -> None:
        self.card = ModelCard(model_id=MODEL, family="sd", source=Path(), max_batch=cap)
        self.now = 0.0
        self.over: Future[None] = Future()
        self._engine: Engine | None = None  # once it is warm
        self._traffic = traffic
        self._profile = profile
        self._steps: Counter[tuple[int, int]] = Counter()
        self._arrivals: dict[Sample, float] = {}
        """Of those who found a place, until they join."""
        self._joins: list[float] = []

    def serve(self, engine: Engine) -> Run:
        """Play the arrivals to the end."""
        self.now = 0.0  # the engine's warm-up is not counted
        self._steps.clear()
        self._engine = engine
        self._jump()
        self.over.result(PATIENCE)
        return run_of(self._traffic, self._profile, self._steps, self._joins)

    def prepare(self, sample: Sample) -> None:
        """No prompt needs room of its own."""

    def begin(self, sample: Sample) -> None:
        """See `Pipeline`."""
        sample.total = int(sample.steps * sample.strength)
        sample.denoising = True
        self._spend(self._profile.encode)

    def predict(self, samples: Sequence[Sample], rows: int) -> list[None]:
        """See `Pipeline`."""
        for sample in samples:
            if (arrival := self._arrivals.pop(sample, None)) is not None:
                self._joins.append(self.now - arrival)
        self._steps[len(samples), rows] += 1
        self._spend(self._profile.step_seconds(rows))
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
        self._spend(self._profile.decode)
        return Picture(sample.image, sample.step)

    def _spend(self, seconds: float) -> None:
        self.now += seconds
        if self._engine:
            self._arrive()

    def _jump(self) -> None:
        coming = self._traffic.next_arrival
        assert coming is not None
        self.now = max(self.now, coming)
        self._arrive()

    def _arrive(self) -> None:
        if arrived := [(one, self._sample(one)) for one in self._traffic.arrived(self.now)]:
            free = max(0, self.card.max_batch - self._engine.pending)
            self._arrivals |= {sample: one.arrival for one, sample in arrived[:free]}
            self._engine.submit(sample for _, sample in arrived)

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
            self.over.set_exception(error)
            return
        self._traffic.end(request, self.now)
        if self._traffic.is_over:
            self.over.set_result(None)
        elif self._engine.pending == 0:  # nothing to do until somebody comes
            self._jump()
