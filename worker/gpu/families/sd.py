"""Stable Diffusion 1.x and 2.x: image-to-image, and inpainting with the same four-channel UNet.

Every sample ends in the latents that the plain diffusers pipeline makes for it alone: the
generator is drawn from in that pipeline's order, and only the UNet forward is shared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import diffusers
import torch
import transformers
from diffusers.utils.torch_utils import randn_tensor

from shared.models import ModelCard
from worker.gpu.families.pixels import to_mask, to_pixels, to_tensor
from worker.gpu.families.schedulers import Schedule, plan
from worker.gpu.samples import Picture, Sample

PROMPTS_KEPT = 64
"""Encoded prompts that stay; one is some hundred kilobytes."""
LATENT_CHANNELS = 4


@dataclass(eq=False, slots=True)
class Kept:
    """What inpainting puts back around the mask after every step."""

    mask: Any
    """(1, 1, h, w); 1 is repainted."""
    noise: Any
    latents: Any
    """The init image's, clean."""


@dataclass(eq=False, slots=True)
class Denoising:
    """A sample between `begin` and `finish`; h and w are an eighth of the image's."""

    schedule: Schedule
    embeddings: Any
    """(1, tokens, width), or (2, tokens, width) with the unconditional row first."""
    latents: Any
    """(1, 4, h, w)."""
    kept: Kept | None


class StableDiffusion:
    """A loaded checkpoint; see `Pipeline` for what its methods promise."""

    def __init__(self, card: ModelCard, pipe: Any) -> None:
        self.card = card
        self._pipe = pipe
        self._unet = pipe.unet
        self._vae = pipe.vae
        self._device = pipe.unet.device
        self._dtype = pipe.unet.dtype
        # Latents have no bounds to be clipped to; not every checkpoint's config says so.
        self._scheduler_config = {**pipe.scheduler.config, "clip_sample": False}
        self._encode_prompt = lru_cache(PROMPTS_KEPT)(self._encode_uncached)

    def begin(self, sample: Sample) -> None:
        """Encode prompt and image, and draw the noise."""
        generator = torch.Generator("cpu").manual_seed(sample.seed)
        schedule = plan(
            self._scheduler_config,
            sample.scheduler,
            steps=sample.steps,
            strength=sample.strength,
            generator=generator,
        )
        embeddings = self._embeddings(sample)
        clean = self._encode_image(sample, generator)
        latents, kept = self._first_latents(sample, schedule, clean, generator)
        sample.denoising = Denoising(schedule, embeddings, latents, kept)
        sample.total = len(schedule.timesteps)

    def predict(self, samples: Sequence[Sample], rows: int) -> list[Any]:
        """One UNet forward; the answer is each sample's guided prediction, (1, 4, h, w)."""
        states: list[Denoising] = [sample.denoising for sample in samples]
        steps = [s.denoising.schedule.timesteps[s.step] for s in samples]
        inputs = [
            state.schedule.scheduler.scale_model_input(state.latents, step)
            for state, step in zip(states, steps, strict=True)
        ]
        halves = states[0].embeddings.shape[0]
        embeddings = torch.stack(_padded([state.embeddings for state in states], rows), dim=1)
        timesteps = torch.stack(_padded([step.float() for step in steps], rows))
        noise = self._unet(
            torch.cat(_padded(inputs, rows)).repeat(halves, 1, 1, 1),
            timesteps.repeat(halves).to(self._device),
            encoder_hidden_states=embeddings.flatten(0, 1),
            return_dict=False,
        )[0]
        halved = noise.unflatten(0, (halves, rows))
        return [_guided(halved[:, [row]], s.guidance_scale) for row, s in enumerate(samples)]

    def advance(self, sample: Sample, prediction: Any) -> None:
        """Step the sample's scheduler; inpainting puts back the kept part, as noisy as the rest."""
        state: Denoising = sample.denoising
        timesteps = state.schedule.timesteps
        latents = state.schedule.step(prediction, timesteps[sample.step], state.latents)
        sample.step += 1
        if state.kept is not None:
            ahead = timesteps[sample.step : sample.step + 1]
            latents = _blended(state.kept, latents, state.schedule.scheduler, ahead)
        state.latents = latents

    def finish(self, sample: Sample) -> Picture:
        """Decode the latents."""
        latents = sample.denoising.latents / self._vae.config.scaling_factor
        decoded = self._vae.decode(latents, return_dict=False)[0]
        return Picture(pixels=to_pixels(decoded), steps=sample.step)

    def _encode_uncached(self, text: str) -> Any:
        return self._pipe.encode_prompt(text, self._device, 1, False)[0]

    def _embeddings(self, sample: Sample) -> Any:
        texts = [sample.prompt]
        if sample.key.guided:
            texts.insert(0, sample.negative_prompt)
        return torch.cat([self._encode_prompt(text) for text in texts])

    def _encode_image(self, sample: Sample, generator: Any) -> Any:
        assert sample.image is not None
        image = to_tensor(sample.image).to(self._device, self._dtype)
        posterior = self._vae.encode(image).latent_dist
        return self._vae.config.scaling_factor * posterior.sample(generator)

    def _first_latents(
        self, sample: Sample, schedule: Schedule, clean: Any, generator: Any
    ) -> tuple[Any, Kept | None]:
        if not len(schedule.timesteps):
            return clean, None
        noise = self._noise(clean.shape, generator)
        noisy = schedule.scheduler.add_noise(clean, noise, schedule.timesteps[:1])
        if sample.mask is None:
            return noisy, None
        if sample.strength == 1.0:  # where the inpainting pipeline forgets the init image
            noisy = noise * schedule.scheduler.init_noise_sigma
        # That pipeline encodes the masked image too; here only its draw makes a difference.
        self._noise(clean.shape, generator)
        mask = to_mask(sample.mask, height=clean.shape[2], width=clean.shape[3])
        return noisy, Kept(mask.to(self._device, self._dtype), noise, clean)

    def _noise(self, shape: Any, generator: Any) -> Any:
        return randn_tensor(shape, generator=generator, device=self._device, dtype=self._dtype)


def load(card: ModelCard, device: str) -> StableDiffusion:
    """Load a diffusers folder; raises `OSError` without one, `ValueError` for an unfit UNet."""
    if not card.source.is_dir():  # or it would be taken for the name of a repository
        raise FileNotFoundError(f"{card.model_id}: no folder {card.source}")
    # Their warnings quote prompts, and their bars draw over the log.
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    pipe = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(
        card.source,
        dtype=getattr(torch, card.dtype),
        use_safetensors=True,
        local_files_only=True,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    unet = pipe.unet.config
    if unet.in_channels != LATENT_CHANNELS or unet.time_cond_proj_dim is not None:
        raise ValueError(f"{card.model_id}: not a plain {LATENT_CHANNELS}-channel UNet")
    return StableDiffusion(card, pipe.to(device))


def _padded(rows: list[Any], count: int) -> list[Any]:
    return rows + [rows[-1]] * (count - len(rows))


def _guided(halves: Any, scale: float) -> Any:
    if halves.shape[0] == 1:
        return halves[0]
    unconditional, conditional = halves
    return unconditional + scale * (conditional - unconditional)


def _blended(kept: Kept, latents: Any, scheduler: Any, ahead: Any) -> Any:
    around = kept.latents
    if len(ahead):
        around = scheduler.add_noise(around, kept.noise, ahead)
    return (1 - kept.mask) * around + kept.mask * latents
