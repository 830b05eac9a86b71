"""Flux.1, dev and schnell: image-to-image, inpainting by blending, and from the text alone.

Every sample ends in the latents that the plain diffusers pipeline makes for it alone: the
generator is drawn from in that pipeline's order, and only the transformer forward is shared.
Guidance is an input of dev's transformer and nothing to schnell's: no row is unconditional.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import diffusers
import torch
from diffusers.utils.torch_utils import randn_tensor

from shared.models import ModelCard
from worker.gpu.families.flow_schedules import noised, plan
from worker.gpu.families.loras import Loras, text_loras
from worker.gpu.families.pixels import to_mask, to_pixels, to_tensor
from worker.gpu.families.schedulers import Schedule
from worker.gpu.families.vaes import Vaes
from worker.gpu.families.weights import read
from worker.gpu.samples import Picture, Pixels, Sample

PROMPTS_KEPT = 16
"""Encoded prompts that stay; one is four megabytes."""
TOKENS_DEV, TOKENS_SCHNELL = 512, 256
"""How long a text is to the T5 encoder, padding included: what each kind was trained with."""
PATCH = 2
"""A token of the transformer is a square of so many latents, all their channels in a row."""
TRAINED_TIMESTEPS = 1000


@dataclass(eq=False, slots=True)
class Kept:
    """What inpainting puts back around the mask after every step, packed."""

    mask: Any
    """1 is repainted."""
    noise: Any
    latents: Any
    """The init image's, clean."""


@dataclass(eq=False, slots=True)
class Denoising:
    """A sample between `begin` and `finish`, all of it on the device."""

    schedule: Schedule
    times: Any
    """(calls,), from 1 down: the timesteps as the transformer takes them."""
    guidance: Any
    """(1,)."""
    embeddings: Any
    """(1, text tokens, width), by T5."""
    pooled: Any
    """(1, width), by CLIP."""
    positions: Any
    """(image tokens, 3)."""
    latents: Any
    """(1, image tokens, 64): packed."""
    kept: Kept | None


class Flux:
    """A loaded checkpoint; see `Pipeline` for what its methods promise."""

    def __init__(self, card: ModelCard, pipe: Any) -> None:
        self.card = card
        self._pipe = pipe
        self._transformer = pipe.transformer
        self._vaes = Vaes(pipe.vae, card.model_id, lambda vae: vae)
        self._loras = Loras(pipe, card.model_id, "transformer", "text_encoder")
        self._channels = pipe.vae.config.latent_channels
        self._device = pipe.transformer.device
        self._dtype = pipe.transformer.dtype
        self._takes_guidance = pipe.transformer.config.guidance_embeds
        self._text_tokens = TOKENS_DEV if self._takes_guidance else TOKENS_SCHNELL
        self._encode_prompt = lru_cache(PROMPTS_KEPT)(self._encode_uncached)

    def prepare(self, sample: Sample) -> None:
        """Read what the sample adds to the model; all prompts have the same number of tokens."""
        self._loras.prepare(sample)
        self._vaes.prepare(sample)

    def begin(self, sample: Sample) -> None:
        """Encode prompt and image, and draw the noise."""
        generator = torch.Generator("cpu").manual_seed(sample.seed)
        positions = self._positions(sample)
        schedule = plan(
            self._pipe.scheduler,
            sample,
            tokens=len(positions),
            generator=generator,
            device=self._device,
        )
        self._loras.activate(sample)
        embeddings, pooled = self._encode_prompt(sample.prompt, text_loras(sample))
        latents, kept = self._first_latents(sample, schedule, generator)
        sample.denoising = Denoising(
            schedule=schedule,
            times=schedule.timesteps.to(self._dtype) / TRAINED_TIMESTEPS,
            guidance=torch.full((1,), sample.guidance_scale, device=self._device),
            embeddings=embeddings,
            pooled=pooled,
            positions=positions,
            latents=latents,
            kept=kept,
        )
        sample.total = len(schedule.timesteps)

    def predict(self, samples: Sequence[Sample], rows: int) -> list[Any]:
        """One transformer forward; the answer is each sample's velocity, (1, image tokens, 64)."""
        self._loras.activate(samples[0])
        states: list[Denoising] = [sample.denoising for sample in samples]
        times = [s.denoising.times[s.step : s.step + 1] for s in samples]
        embeddings = _stacked([state.embeddings for state in states], rows)
        guidance = _stacked([state.guidance for state in states], rows)
        velocities = self._transformer(
            hidden_states=_stacked([state.latents for state in states], rows),
            timestep=_stacked(times, rows),
            guidance=guidance if self._takes_guidance else None,
            pooled_projections=_stacked([state.pooled for state in states], rows),
            encoder_hidden_states=embeddings,
            txt_ids=embeddings.new_zeros(embeddings.shape[1], 3),
            img_ids=states[0].positions,
            return_dict=False,
        )[0]
        return [velocities[row : row + 1] for row in range(len(samples))]

    def advance(self, sample: Sample, prediction: Any) -> None:
        """Step the sample's scheduler; inpainting puts back the kept part, as noisy as the rest."""
        state: Denoising = sample.denoising
        schedule, kept = state.schedule, state.kept
        latents = schedule.step(prediction, schedule.timesteps[sample.step], state.latents)
        sample.step += 1
        if kept is not None:
            around = kept.latents
            if sample.step < sample.total:
                around = noised(schedule.scheduler, around, kept.noise)
            latents = (1 - kept.mask) * around + kept.mask * latents
        state.latents = latents

    def finish(self, sample: Sample) -> Picture:
        """Decode the latents."""
        _, _, height, width = self._shape(sample)
        latents = _unpacked(sample.denoising.latents, height, width)
        vae = self._vaes.of(sample)
        latents = latents / vae.config.scaling_factor + vae.config.shift_factor
        decoded = vae.decode(latents, return_dict=False)[0]
        scheduler = type(sample.denoising.schedule.scheduler).__name__
        return Picture(pixels=to_pixels(decoded), steps=sample.step, scheduler=scheduler)

    def _encode_uncached(self, text: str, _loras: Hashable) -> tuple[Any, Any]:
        embeddings, pooled, _ = self._pipe.encode_prompt(
            text, None, device=self._device, max_sequence_length=self._text_tokens
        )
        return embeddings, pooled

    def _first_latents(
        self, sample: Sample, schedule: Schedule, generator: Any
    ) -> tuple[Any, Kept | None]:
        if sample.image is None:
            return self._noise(sample, generator), None
        clean = self._encode_image(sample.image, self._vaes.of(sample), generator)
        if not len(schedule.timesteps):
            return clean, None
        noise = self._noise(sample, generator)
        noisy = noised(schedule.scheduler, clean, noise)
        if sample.mask is None:
            return noisy, None
        # The inpainting pipeline encodes the masked image too, and then never looks at it.
        return noisy, Kept(self._packed_mask(sample.mask), noise, clean)

    def _encode_image(self, image: Pixels, vae: Any, generator: Any) -> Any:
        posterior = vae.encode(to_tensor(image).to(self._device, self._dtype)).latent_dist
        config = vae.config
        return _packed((posterior.sample(generator) - config.shift_factor) * config.scaling_factor)

    def _noise(self, sample: Sample, generator: Any) -> Any:
        shape = self._shape(sample)
        noise = randn_tensor(shape, generator=generator, device=self._device, dtype=self._dtype)
        return _packed(noise)

    def _packed_mask(self, mask: Pixels) -> Any:
        factor, channels = self._pipe.vae_scale_factor, self._channels
        height, width = (side // factor for side in mask.shape)
        shrunk = torch.nn.functional.interpolate(to_mask(mask), size=(height, width))
        binary = shrunk.to(self._device, self._dtype)
        return _packed(binary.expand(-1, channels, -1, -1))

    def _positions(self, sample: Sample) -> Any:
        _, _, height, width = self._shape(sample)
        rows, columns = torch.arange(height // PATCH), torch.arange(width // PATCH)
        grid = torch.cartesian_prod(torch.zeros(1, dtype=torch.long), rows, columns)
        return grid.to(self._device, self._dtype)

    def _shape(self, sample: Sample) -> tuple[int, int, int, int]:
        factor = self._pipe.vae_scale_factor
        return 1, self._channels, sample.height // factor, sample.width // factor


def load(card: ModelCard, device: str) -> Flux:
    """Load a diffusers folder; raises `OSError` without one, `ValueError` for an unfit one."""
    pipe = read(
        diffusers.FluxImg2ImgPipeline, card, device, image_encoder=None, feature_extractor=None
    )
    if pipe.transformer.config.in_channels != PATCH**2 * pipe.vae.config.latent_channels:
        raise ValueError(f"{card.model_id}: its transformer wants more than the latents")
    side = PATCH * pipe.vae_scale_factor
    if card.limits.multiple % side:
        raise ValueError(f"{card.model_id}: limits.multiple must be a multiple of {side}")
    return Flux(card, pipe)


def _stacked(rows: list[Any], count: int) -> Any:
    return torch.cat(rows + [rows[-1]] * (count - len(rows)))


def _packed(latents: Any) -> Any:
    """(1, channels, h, w) to (1, tokens, channels of a patch)."""
    squares = latents.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH))
    return squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _unpacked(tokens: Any, height: int, width: int) -> Any:
    squares = tokens.unflatten(2, (-1, PATCH, PATCH)).unflatten(1, (height // PATCH, -1))
    return squares.permute(0, 3, 1, 4, 2, 5).reshape(1, -1, height, width)
