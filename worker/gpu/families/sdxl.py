"""Stable Diffusion XL: base models, refiners and inpainting checkpoints."""

from functools import partial
from typing import Any

import diffusers
import torch

from shared.errors import BadInput
from shared.models import ModelCard
from worker.gpu.families.loras import Loras, text_loras
from worker.gpu.families.prompt_embeddings import PromptEncoder, Read
from worker.gpu.families.unet import Conditions, UNetPipeline
from worker.gpu.families.vae import Vae
from worker.gpu.families.vaes import Vaes
from worker.gpu.families.weights import read
from worker.gpu.samples import Sample

Encoded = tuple[Any, Any]
"""(1, tokens, width) of all text encoders side by side, and (1, width) of the last one, pooled."""
CROP = (0, 0)
AESTHETIC_SCORE, NEGATIVE_AESTHETIC_SCORE = 6.0, 2.5
"""What the pipelines of diffusers tell a refiner by default."""


def load(card: ModelCard, device: str, image_cache: int) -> UNetPipeline:
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
        Vaes(pipe.vae, card.model_id, partial(Vae, upcast=True, image_cache=image_cache)),
        Loras(pipe, card.model_id, "unet", "text_encoder", "text_encoder_2"),
        scheduler=pipe.scheduler.config,
        conditioning=TextAndSizes(pipe, card),
    )


class TextAndSizes:
    """The prompts, by one or two text encoders, and the sizes that the UNet was trained with."""

    def __init__(self, pipe: Any, card: ModelCard) -> None:
        self._card = card
        self._refines = pipe.config.requires_aesthetics_score
        self._empty_is_zero = pipe.config.force_zeros_for_empty_prompt
        parts = [
            (pipe.tokenizer, pipe.text_encoder, penultimate, "clip_l"),  # not in a refiner
            (pipe.tokenizer_2, pipe.text_encoder_2, penultimate, "clip_g"),
        ]
        self._encoders = [PromptEncoder(*part) for part in parts if part[1] is not None]

    def prepare(self, sample: Sample) -> None:
        """Count the chunks of the prompts."""
        texts = (sample.prompt, sample.negative_prompt if sample.key.guided else "")
        sample.chunks = max(
            len(e.chunks(text, sample.embeddings)) for e in self._encoders for text in texts
        )

    def conditions(self, sample: Sample) -> Conditions:
        """Encode the prompts; raises `BadInput` as `penultimate` does."""
        if self._refines and sample.image is None:
            raise BadInput(f"{self._card.model_id} only refines: it needs an image")
        rows = [self._encode(sample, sample.prompt, sample.clip_skip)]
        scores = [AESTHETIC_SCORE]
        if sample.key.guided:
            rows.insert(0, self._unconditional(sample, rows[0]))
            scores.insert(0, NEGATIVE_AESTHETIC_SCORE)
        embeddings, pooled = (torch.cat(parts) for parts in zip(*rows, strict=True))
        size = (sample.height, sample.width)
        last = [(score,) for score in scores] if self._refines else [size] * len(rows)
        ids = torch.tensor([(*size, *CROP, *end) for end in last], dtype=embeddings.dtype)
        return Conditions(
            embeddings, {"text_embeds": pooled, "time_ids": ids.to(embeddings.device)}
        )

    def _encode(self, sample: Sample, text: str, clip_skip: int | None = None) -> Encoded:
        read = [
            encoder.encode_pooled(
                text,
                chunks=sample.chunks,
                clip_skip=clip_skip,
                embeddings=sample.embeddings,
                loras=text_loras(sample),
            )
            for encoder in self._encoders
        ]
        # The pooled state is the first chunk's: it stands for words that have no place.
        return torch.cat([states for states, _ in read], dim=-1), read[-1][1]

    def _unconditional(self, sample: Sample, conditional: Encoded) -> Encoded:
        # An empty negative prompt is none: diffusers does not encode that, most models say.
        if not sample.negative_prompt and self._empty_is_zero:
            return torch.zeros_like(conditional[0]), torch.zeros_like(conditional[1])
        return self._encode(sample, sample.negative_prompt)


def penultimate(encoder: Any, ids: Any, clip_skip: int | None) -> Read:
    """As Stable Diffusion XL reads its encoders: the layer before the last, or an earlier one."""
    output = encoder(ids, output_hidden_states=True)
    states = output.hidden_states
    skipped = (clip_skip or 0) + 1
    if skipped >= len(states):
        raise BadInput(f"The clip skip must be at most {len(states) - 2} with this model")
    return states[-(skipped + 1)], output.get("text_embeds")
