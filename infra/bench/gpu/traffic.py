"""Requests, our engine for them, and plain diffusers with weights of its own."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import diffusers
import numpy as np
import torch
from PIL import Image

from infra.bench.gpu.models import ARCHITECTURES, STRENGTH, TINY_SIDE, build
from infra.bench.gpu.plan import Plan
from infra.bench.gpu.work import work
from worker.gpu.engine import BUCKETS, Engine
from worker.gpu.families import Pipeline
from worker.gpu.pipelines import WarmPipelines
from worker.gpu.samples import Pixels, Sample

PATIENCE = 300
TINY_STEPS = 4
FLUX_TOKENS = 512
RIVAL_MODE = "reduce-overhead"
"""Of torch.compile: at one image a step, launching costs most."""


def sample(name: str, plan: Plan, number: int, **changes: Any) -> Sample:
    """The request that a model's speed is quoted for; each number has its own prompt and seed."""
    architecture = ARCHITECTURES[name]
    side = changes.pop("side", TINY_SIDE if plan.tiny else architecture.side)
    fields: dict[str, Any] = {
        "job_id": number,
        "model_id": name,
        "prompt": f"a cat, picture {number}",
        "negative_prompt": "blurry",
        "image": picture(number, side),
        "mask": None,
        "height": side,
        "width": side,
        "steps": TINY_STEPS if plan.tiny else architecture.steps,
        "strength": STRENGTH,
        "guidance_scale": architecture.guidance_scale,
        "scheduler": architecture.scheduler,
        "seed": number,
        "distilled": architecture.family == "flux",
    }
    return Sample(**(fields | changes))


def operations(name: str, plan: Plan) -> int:
    """Of one such request, from its picture to the new one."""
    one, architecture = sample(name, plan, 0), ARCHITECTURES[name]
    kept = one.steps * one.strength
    calls = one.steps - int(one.steps - kept) if one.distilled else int(kept)  # as diffusers does
    return work(name, tiny=plan.tiny).image(calls, architecture.halves)


def picture(seed: int, side: int) -> Pixels:
    """Soft colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((side, side)))


@contextmanager
def running(pipeline: Pipeline, plan: Plan, buckets: Sequence[int] = BUCKETS) -> Iterator[Engine]:
    """The worker's engine over one model, warm."""
    pipelines = WarmPipelines([pipeline.card], plan.device, lambda _card, _device: pipeline)
    engine = Engine(pipelines, buckets=buckets, on_device_lost=lambda _error: None)
    engine.start()
    try:
        yield engine
    finally:
        engine.stop()


class Plain:
    """The pipeline of diffusers; called with samples that agree in all but prompt and seed."""

    def __init__(self, name: str, plan: Plan, *, upcast: bool = False) -> None:
        """Upcast to float32, with the values of the shorter type, it is the reference."""
        self.pipe = build(name, plan)
        if upcast:
            self.pipe.to(torch.float32)
        self._own = self.pipe.scheduler

    def compiled(self, plan: Plan) -> Self:
        """The same weights behind a compiled denoiser."""
        other, part = copy.copy(self), "unet" if hasattr(self.pipe, "unet") else "transformer"
        other.pipe = copy.copy(self.pipe)
        denoiser = torch.compile(
            getattr(self.pipe, part), mode=RIVAL_MODE, dynamic=False, disable=plan.tiny
        )
        setattr(other.pipe, part, denoiser)
        return other

    def __call__(self, samples: Sequence[Sample], output_type: str = "pil") -> Any:
        """Pictures, or latents."""
        first = samples[0]
        kind = getattr(diffusers, first.scheduler)
        self.pipe.scheduler = kind.from_config(self._own.config)
        given: dict[str, Any] = {"negative_prompt": [s.negative_prompt for s in samples]}
        if first.distilled:
            size = {"height": first.height, "width": first.width}
            given = size | {"max_sequence_length": FLUX_TOKENS}
        return self.pipe(
            prompt=[s.prompt for s in samples],
            image=[Image.fromarray(s.image) for s in samples],
            num_inference_steps=first.steps,
            strength=first.strength,
            guidance_scale=first.guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(s.seed) for s in samples],
            output_type=output_type,
            **given,
        ).images
