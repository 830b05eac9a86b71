"""Stable Diffusion 1.x and 2.x, and their inpainting checkpoints."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import diffusers
import torch

from shared.models import ModelCard
from worker.gpu.families.unet import PROMPTS_KEPT, Conditions, UNetPipeline
from worker.gpu.families.vae import Vae
from worker.gpu.families.weights import read
from worker.gpu.samples import Sample


def load(card: ModelCard, device: str) -> UNetPipeline:
    """Load a diffusers folder; raises `OSError` without one, `ValueError` for an unfit UNet."""
    pipe = read(
        diffusers.StableDiffusionImg2ImgPipeline,
        card,
        device,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    if pipe.unet.config.addition_embed_type is not None:
        raise ValueError(f"{card.model_id}: its UNet is not that of Stable Diffusion 1.x or 2.x")
    return UNetPipeline(
        card,
        pipe.unet,
        Vae(pipe.vae),
        scheduler=pipe.scheduler.config,
        conditions=encoder_of(pipe),
    )


def encoder_of(pipe: Any) -> Callable[[Sample], Conditions]:
    """What encodes the prompts of samples, and remembers the last ones."""

    @lru_cache(PROMPTS_KEPT)
    def encode(text: str) -> Any:
        return pipe.encode_prompt(text, pipe.unet.device, 1, False)[0]

    def conditions(sample: Sample) -> Conditions:
        texts = [sample.prompt]
        if sample.key.guided:
            texts.insert(0, sample.negative_prompt)
        return Conditions(torch.cat([encode(text) for text in texts]))

    return conditions
