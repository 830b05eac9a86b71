"""Stable Diffusion 1.x and 2.x, and their inpainting checkpoints."""

from functools import partial

import diffusers
import torch

from shared.models import ModelCard
from worker.gpu.families.loras import Loras, text_loras
from worker.gpu.families.prompt_embeddings import PromptEncoder
from worker.gpu.families.unet import Conditions, UNetPipeline
from worker.gpu.families.vae import Vae
from worker.gpu.families.vaes import Vaes
from worker.gpu.families.weights import read
from worker.gpu.samples import Sample


def load(card: ModelCard, device: str, image_cache: int) -> UNetPipeline:
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
        Vaes(pipe.vae, card.model_id, partial(Vae, image_cache=image_cache)),
        Loras(pipe, card.model_id, "unet", "text_encoder"),
        scheduler=pipe.scheduler.config,
        conditioning=TextConditioning(PromptEncoder(pipe.tokenizer, pipe.text_encoder)),
    )


class TextConditioning:
    """The prompts, by one text encoder."""

    def __init__(self, prompts: PromptEncoder) -> None:
        self._prompts = prompts

    def prepare(self, sample: Sample) -> None:
        """Count the chunks of the prompts."""
        texts = (sample.prompt, sample.negative_prompt if sample.key.guided else "")
        sample.chunks = max(len(self._prompts.chunks(text, sample.embeddings)) for text in texts)

    def conditions(self, sample: Sample) -> Conditions:
        """Encode the prompts; raises `BadInput` for more layers to skip than there are."""
        encode = partial(
            self._prompts.encode,
            chunks=sample.chunks,
            embeddings=sample.embeddings,
            loras=text_loras(sample),
        )
        rows = [encode(sample.prompt, clip_skip=sample.clip_skip)]
        if sample.key.guided:
            # As in diffusers: the negative prompt skips no layers.
            rows.insert(0, encode(sample.negative_prompt))
        return Conditions(torch.cat(rows))
