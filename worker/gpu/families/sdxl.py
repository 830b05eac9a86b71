"""Stable Diffusion XL: base models, refiners and inpainting checkpoints."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import diffusers
import torch

from shared.errors import BadInput
from shared.models import ModelCard
from worker.gpu.families.unet import PROMPTS_KEPT, Conditions, UNetPipeline
from worker.gpu.families.vae import Vae
from worker.gpu.families.weights import read
from worker.gpu.samples import Sample

Encoded = tuple[Any, Any]
"""(1, tokens, width) of all text encoders side by side, and (1, width) of the last one, pooled."""
CROP = (0, 0)
AESTHETIC_SCORE, NEGATIVE_AESTHETIC_SCORE = 6.0, 2.5
"""What the pipelines of diffusers tell a refiner by default."""


def load(card: ModelCard, device: str) -> UNetPipeline:
    """Load a diffusers folder; raises `OSError` without one, `ValueError` for an unfit UNet."""
    pipe = read(
        diffusers.StableDiffusionXLImg2ImgPipeline,
        card,
        device,
        image_encoder=None,
        feature_extractor=None,
        add_watermarker=False,
    )
    if pipe.unet.config.addition_embed_type != "text_time":
        raise ValueError(f"{card.model_id}: its UNet is not that of Stable Diffusion XL")
    if getattr(pipe.vae.config, "latents_mean", None) is not None:
        raise ValueError(f"{card.model_id}: its VAE shifts its latents")
    return UNetPipeline(
        card,
        pipe.unet,
        Vae(pipe.vae, upcast=True),
        scheduler=pipe.scheduler.config,
        conditions=encoder_of(pipe, card),
    )


def encoder_of(pipe: Any, card: ModelCard) -> Callable[[Sample], Conditions]:
    """What encodes the prompts and sizes of samples, and remembers the last prompts."""
    refines = pipe.config.requires_aesthetics_score
    empty_is_zero = pipe.config.force_zeros_for_empty_prompt

    @lru_cache(PROMPTS_KEPT)
    def encode(text: str) -> Encoded:
        embeddings, _, pooled, _ = pipe.encode_prompt(
            text, device=pipe.unet.device, do_classifier_free_guidance=False
        )
        return embeddings, pooled

    def unconditional(sample: Sample, conditional: Encoded) -> Encoded:
        # An empty negative prompt is none: diffusers does not encode that, most models say.
        if not sample.negative_prompt and empty_is_zero:
            return torch.zeros_like(conditional[0]), torch.zeros_like(conditional[1])
        return encode(sample.negative_prompt)

    def conditions(sample: Sample) -> Conditions:
        if refines and sample.image is None:
            raise BadInput(f"{card.model_id} only refines: it needs an image")
        rows = [encode(sample.prompt)]
        scores = [AESTHETIC_SCORE]
        if sample.key.guided:
            rows.insert(0, unconditional(sample, rows[0]))
            scores.insert(0, NEGATIVE_AESTHETIC_SCORE)
        embeddings, pooled = (torch.cat(parts) for parts in zip(*rows, strict=True))
        size = (sample.height, sample.width)
        last = [(score,) for score in scores] if refines else [size] * len(rows)
        ids = torch.tensor([(*size, *CROP, *end) for end in last], dtype=embeddings.dtype)
        return Conditions(
            embeddings, {"text_embeds": pooled, "time_ids": ids.to(embeddings.device)}
        )

    return conditions
