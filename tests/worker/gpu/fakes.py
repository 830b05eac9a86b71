"""Small working stand-ins for a loaded model, and samples in one line."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shared.models import ModelCard
from worker.gpu.families import Pipeline
from worker.gpu.samples import Picture, Sample

CARD = ModelCard(model_id="fake", family="sd", source=Path("nowhere"), max_batch=8)


def make_sample(**changes: Any) -> Sample:
    """A sample of the fake model, as large as its image; `side` stands for a square one."""
    side = changes.pop("side", 64)
    image = changes.pop("image", np.zeros((side, side, 3), np.uint8))
    height, width = (side, side) if image is None else image.shape[:2]
    fields: dict[str, Any] = {
        "job_id": 1,
        "model_id": "fake",
        "prompt": "a cat",
        "negative_prompt": "",
        "image": image,
        "mask": None,
        "height": height,
        "width": width,
        "steps": 4,
        "strength": 1.0,
        "guidance_scale": 7.5,
        "scheduler": "DDIMScheduler",
        "seed": 0,
    }
    return Sample(**(fields | changes))


class FakePipeline:
    """Counts to the number of steps; `before` sees every call first and may raise."""

    def __init__(self, card: ModelCard = CARD) -> None:
        self.card = card
        self.forwards: list[tuple[list[Sample], int]] = []
        self.before: Callable[[str, Sequence[Sample], int], None] = lambda *_: None
        self.develops = False
        """Whether pictures are on their way for a while."""

    def prepare(self, sample: Sample) -> None:
        sample.chunks = 1 + len(sample.prompt) // 300

    def begin(self, sample: Sample) -> None:
        self.before("begin", [sample], 1)
        sample.total = int(sample.steps * sample.strength)
        sample.denoising = [0]

    def predict(self, samples: Sequence[Sample], rows: int) -> list[int]:
        self.before("predict", samples, rows)
        self.forwards.append((list(samples), rows))
        return [1] * len(samples)

    def warm_up(self, sample: Sample, rows: int) -> list[int]:
        return self.predict([sample], rows)

    def advance(self, sample: Sample, prediction: int) -> None:
        self.before("advance", [sample], 1)
        sample.denoising[0] += prediction
        sample.step += 1

    def develop(self, sample: Sample) -> bool:
        return self.develops

    def finish(self, sample: Sample) -> Picture:
        self.before("finish", [sample], 1)
        assert sample.denoising == [sample.total], "a step was lost or taken twice"
        pixels = np.zeros((sample.height, sample.width, 3), np.uint8)
        return Picture(pixels if sample.image is None else sample.image, steps=sample.step)


class FakePipelines:
    """One loaded model."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.warm: list[Sequence[int]] = []

    def get(self, model_id: str) -> Pipeline:
        return {self.pipeline.card.model_id: self.pipeline}[model_id]

    def pin(self, samples: Sequence[Sample], *, timeout: float | None = None) -> Pipeline:
        return self.get(samples[0].model_id)

    def unpin(self, sample: Sample) -> None:
        pass

    def warm_up(self, buckets: Sequence[int]) -> None:
        self.warm.append(buckets)


class Recorder:
    """A real pipeline that remembers what its samples came to; `before` sees each forward first."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.card = pipeline.card
        self.latents: dict[Sample, Any] = {}
        self.forwards: list[tuple[list[Sample], int]] = []
        self.before: Callable[[Sequence[Sample]], None] = lambda _: None

    def prepare(self, sample: Sample) -> None:
        self.pipeline.prepare(sample)

    def begin(self, sample: Sample) -> None:
        self.pipeline.begin(sample)

    def predict(self, samples: Sequence[Sample], rows: int) -> list[Any]:
        self.before(samples)
        self.forwards.append((list(samples), rows))
        return self.pipeline.predict(samples, rows)

    def warm_up(self, sample: Sample, rows: int) -> list[Any]:
        return self.pipeline.warm_up(sample, rows)

    def advance(self, sample: Sample, prediction: Any) -> None:
        self.pipeline.advance(sample, prediction)

    def develop(self, sample: Sample) -> bool:
        return self.pipeline.develop(sample)

    def finish(self, sample: Sample) -> Picture:
        self.latents[sample] = sample.denoising.latents.clone()
        return self.pipeline.finish(sample)
