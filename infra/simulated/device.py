"""What `worker.gpu.families` finds in place of torch: a model that counts its steps.

A word in the prompt asks for a fault in the denoiser: `kill@2` ends the process before the third
step, `hang@2` never comes back from it, `raise@2` fails it, `full@2` finds no memory for it;
`nothing@0` makes no picture. The fault comes whenever the sample gets there, at every attempt.
`photo@0` asks for the init image as the picture: that takes as long to store as a real one. To the
safety checker bright pictures are unsafe.
"""

import os
import re
import signal
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.config import Duration
from shared.errors import NoPicture
from shared.models import ModelCard
from worker.gpu.families import DeviceMemoryFull
from worker.gpu.memory import Memory, Plenty
from worker.gpu.samples import Picture, Sample

BRIGHT = 128
FAULT = re.compile(r"\b(kill|hang|raise|full|nothing)@(\d+)\b")
PACE = None


class Simulated(BaseSettings):
    """How fast the device is."""

    model_config = SettingsConfigDict(env_prefix="IMG2IMG_", extra="ignore")

    step_time: Duration = timedelta(milliseconds=7)
    """Of one denoiser call while the device is not full; from then on it grows with the rows."""
    load_time: Duration = timedelta(0)
    """Of a model."""
    full_at: int = 2
    """Rows from which on a call takes longer."""
    row_side: int = 0
    """Pixels a side of such a row, larger ones count for more; 0: all count the same."""

    def takes(self, rows: int, pixels: int) -> float:
        """Seconds of a call."""
        full = self.full_at * (self.row_side**2 / pixels if self.row_side else 1)
        return self.step_time.total_seconds() * max(1, rows / full)


class CountingModel:
    """See `worker.gpu.families.Pipeline`: no networks, and every picture is one colour."""

    def __init__(self, card: ModelCard, device: Simulated | None = None) -> None:
        self.card = card
        self._device = device or Simulated()

    def prepare(self, sample: Sample) -> None:
        """Reads nothing."""

    def begin(self, sample: Sample) -> None:
        """Count from 0, as many calls as diffusers makes: strength is that of an image."""
        share = 1.0 if sample.image is None else sample.strength
        sample.total = max(1, int(sample.steps * share))
        sample.denoising = 0

    def predict(self, samples: Sequence[Sample], rows: int) -> list[Any]:
        """One forward: it takes its time, and whoever asks for a fault gets it."""
        for sample in samples:
            _fail_as_asked(sample)
        time.sleep(self._device.takes(rows, samples[0].height * samples[0].width))
        return [1] * len(samples)

    def warm_up(self, sample: Sample, rows: int) -> list[Any]:
        """As `predict`."""
        return self.predict([sample], rows)

    def advance(self, sample: Sample, prediction: int) -> None:
        """Count."""
        sample.denoising += prediction
        sample.step += 1

    def develop(self, sample: Sample) -> bool:  # noqa: ARG002
        """There is nothing to wait for."""
        return False

    def finish(self, sample: Sample) -> Picture:
        """A picture in the colour that its seed names; raises RuntimeError if a step was lost."""
        if sample.denoising != sample.total:
            raise RuntimeError(f"{sample.denoising} steps were taken of {sample.total}")
        if "nothing@" in sample.prompt:
            raise NoPicture("asked for")
        if self.card.family == "safety":
            unsafe = bool(sample.image is not None and sample.image.mean() > BRIGHT)
            return Picture(np.zeros((1, 1, 3), np.uint8), steps=1, unsafe=unsafe)
        if "photo@" in sample.prompt and sample.image is not None:
            return Picture(sample.image, steps=sample.step)
        row = np.tile(np.frombuffer(sample.seed.to_bytes(4, "big"), np.uint8)[1:], sample.width)
        pixels = np.tile(row, sample.height).reshape(sample.height, sample.width, 3)
        return Picture(pixels, steps=sample.step)


def load(card: ModelCard, device: str, image_cache: int) -> CountingModel:  # noqa: ARG001
    """The model, after the time that it takes."""
    model = CountingModel(card)
    time.sleep(Simulated().load_time.total_seconds())
    return model


def pick() -> str:
    """The name of the device."""
    return "cpu"


def make_room() -> None:
    """There is room."""


def in_our_errors(work: Any, *args: Any) -> Any:
    """Errors here are the engine's already."""
    return work(*args)


class Guarded:
    """The model as it is."""

    def __new__(cls, pipeline: CountingModel, pace: None) -> Any:  # noqa: ARG004
        """No device to guard."""
        return pipeline


class Shelf(Plenty):
    """Memory in which every model is one byte large."""

    def __init__(self, budget: int) -> None:
        self.budget = budget

    def needs(self, card: ModelCard) -> int:  # noqa: ARG002
        """See `Memory`."""
        return 1

    would_add = needs

    def held(self, model_ids: Iterable[str]) -> int:
        """See `Memory`."""
        return len([*model_ids])


def DeviceMemory(device: str, budget: int | None) -> Memory:  # noqa: N802, ARG001
    """Room for as many models as the budget has bytes; None: for all."""
    return Plenty() if budget is None else Shelf(budget)


def _fail_as_asked(sample: Sample) -> None:
    fault = FAULT.search(sample.prompt)
    if fault is None or sample.step != int(fault[2]):
        return
    match fault[1]:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            time.sleep(86_400)
        case "raise":
            raise RuntimeError("asked for")
        case "full":
            raise DeviceMemoryFull("asked for")
