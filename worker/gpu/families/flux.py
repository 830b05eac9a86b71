"""Flux.1, dev and schnell: image-to-image, inpainting by blending, and from the text alone.

Every sample ends in the latents that the plain diffusers pipeline makes for it alone: the
generator is drawn from in that pipeline's order, and only the transformer forward is shared.
Guidance is an input of dev's transformer and nothing to schnell's: no row is unconditional.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import diffusers
import torch

from shared.models import ModelCard
from worker.gpu.families.caches import Cache
from worker.gpu.families.denoiser import Denoiser
from worker.gpu.families.flow_schedules import FlowSchedules, noised
from worker.gpu.families.loras import Loras, text_loras
from worker.gpu.families.pixels import to_mask
from worker.gpu.families.schedulers import Schedule
from worker.gpu.families.tokens import PATCH, packed, positions, unpacked
from worker.gpu.families.vae import Decoding, Vae, digests
from worker.gpu.families.vaes import Vaes
from worker.gpu.families.weights import read
from worker.gpu.samples import Picture, Pixels, Sample

PROMPTS_KEPT = 16
"""Encoded prompts that stay; one is four megabytes."""
TOKENS_DEV, TOKENS_SCHNELL = 512, 256
"""How long a text is to the T5 encoder, padding included: what each kind was trained with."""
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
class Start:
    """What a sample begins with, packed."""

    latents: Any
    kept: Kept | None = None
    context: Any = None
    """Latents that the transformer looks at beside those that it denoises."""


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
    """(image tokens, 3), those of the context after the others."""
    latents: Any
    """(1, image tokens, 64): packed."""
    kept: Kept | None
    context: Any
    """See `Start`."""
    decoding: Decoding | None = None

    @property
    def seen(self) -> Any:
        """The transformer's input for one row."""
        return self.latents if self.context is None else torch.cat([self.latents, self.context], 1)


class Flux:
    """A loaded checkpoint; see `Pipeline` for what its methods promise."""

    def __init__(self, card: ModelCard, pipe: Any, vaes: Vaes[Vae]) -> None:
        self.card = card
        self._pipe = pipe
        self._transformer = Denoiser(pipe.transformer, card)
        self._vaes = vaes
        self._loras = Loras(pipe, card.model_id, "transformer", "text_encoder")
        self._channels = pipe.vae.config.latent_channels
        self._device = pipe.transformer.device
        self._dtype = pipe.transformer.dtype
        self._takes_guidance = pipe.transformer.config.guidance_embeds
        self._text_tokens = TOKENS_DEV if self._takes_guidance else TOKENS_SCHNELL
        self._schedules = FlowSchedules(pipe.scheduler, self._device)
        self._encoded: Cache[tuple[Any, Any]] = Cache("prompt", PROMPTS_KEPT)

    def prepare(self, sample: Sample) -> None:
        """Read what the sample adds to the model, and name its images.

        All prompts have the same number of tokens.
        """
        self._loras.prepare(sample)
        self._vaes.prepare(sample)
        sample.digests = digests(sample)

    def begin(self, sample: Sample) -> None:
        """Encode prompt and image, and draw the noise."""
        generator = torch.Generator("cpu").manual_seed(sample.seed)
        height, width = self._latent_size(sample)
        schedule = self._schedules.plan(
            sample,
            from_noise=self._is_from_noise(sample),
            tokens=height * width // PATCH**2,
            generator=generator,
        )
        self._loras.activate(sample)
        embeddings, pooled = self._encode_prompt(sample.prompt, text_loras(sample))
        start = self._start(sample, schedule, generator)
        sample.denoising = Denoising(
            schedule=schedule,
            times=schedule.timesteps.to(self._dtype) / TRAINED_TIMESTEPS,
            guidance=torch.full((1,), sample.guidance_scale, device=self._device),
            embeddings=embeddings,
            pooled=pooled,
            positions=self._positions(sample),
            latents=start.latents,
            kept=start.kept,
            context=start.context,
        )
        sample.total = len(schedule.timesteps)

    def predict(self, samples: Sequence[Sample], rows: int) -> list[Any]:
        """One transformer forward; the answer is each sample's velocity, (1, image tokens, 64)."""
        return self._forward(self._transformer, samples, rows)

    def warm_up(self, sample: Sample, rows: int) -> list[Any]:
        """See `Pipeline`."""
        return self._forward(self._transformer.warm_up, [sample], rows)

    def _forward(
        self, transformer: Callable[..., Any], samples: Sequence[Sample], rows: int
    ) -> list[Any]:
        self._loras.activate(samples[0])
        states: list[Denoising] = [sample.denoising for sample in samples]
        times = [s.denoising.times[s.step : s.step + 1] for s in samples]
        embeddings = _stacked([state.embeddings for state in states], rows)
        guidance = _stacked([state.guidance for state in states], rows)
        velocities = transformer(
            _stacked([state.seen for state in states], rows),
            timestep=_stacked(times, rows),
            guidance=guidance if self._takes_guidance else None,
            pooled_projections=_stacked([state.pooled for state in states], rows),
            encoder_hidden_states=embeddings,
            txt_ids=embeddings.new_zeros(embeddings.shape[1], 3),
            img_ids=states[0].positions,
            exactly=samples[0].strict,
        )
        tokens = states[0].latents.shape[1]
        return [velocities[row : row + 1, :tokens] for row in range(len(samples))]

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

    def develop(self, sample: Sample) -> bool:
        """Begin to decode the latents."""
        latents = self._unpacked(sample)
        sample.denoising.decoding = self._vaes.of(sample).begin_decoding(latents, sample)
        return bool(self._device.type != "cpu")

    def finish(self, sample: Sample) -> Picture:
        """Decode the latents, unless that is done."""
        state: Denoising = sample.denoising
        pixels = self._vaes.of(sample).decode(self._unpacked(sample), sample, state.decoding)
        scheduler = type(state.schedule.scheduler).__name__
        return Picture(pixels=pixels, steps=sample.step, scheduler=scheduler)

    def _encode_prompt(self, text: str, loras: Hashable) -> tuple[Any, Any]:
        if (kept := self._encoded.get((text, loras))) is not None:
            return kept
        embeddings, pooled, _ = self._pipe.encode_prompt(
            text, None, device=self._device, max_sequence_length=self._text_tokens
        )
        self._encoded.put((text, loras), (embeddings, pooled))
        return embeddings, pooled

    def _unpacked(self, sample: Sample) -> Any:
        return unpacked(sample.denoising.latents, *self._latent_size(sample))

    def _is_from_noise(self, sample: Sample) -> bool:
        return sample.image is None

    def _start(self, sample: Sample, schedule: Schedule, generator: Any) -> Start:
        if sample.image is None:
            return Start(self._noise(sample, generator))
        clean = packed(self._vaes.of(sample).encode(sample, generator))
        if not len(schedule.timesteps):
            return Start(clean)
        noise = self._noise(sample, generator)
        noisy = noised(schedule.scheduler, clean, noise)
        if sample.mask is None:
            return Start(noisy)
        # The inpainting pipeline encodes the masked image too, and then never looks at it.
        return Start(noisy, Kept(self._packed_mask(sample.mask), noise, clean))

    def _noise(self, sample: Sample, generator: Any) -> Any:
        return packed(self._vaes.of(sample).noise((sample.height, sample.width), generator))

    def _packed_mask(self, mask: Pixels) -> Any:
        height, width = (side // self._pipe.vae_scale_factor for side in mask.shape)
        shrunk = torch.nn.functional.interpolate(to_mask(mask), size=(height, width))
        binary = shrunk.to(self._device, self._dtype)
        return packed(binary.expand(-1, self._channels, -1, -1))

    def _positions(self, sample: Sample) -> Any:
        return positions(*self._latent_size(sample)).to(self._device, self._dtype)

    def _latent_size(self, sample: Sample) -> tuple[int, int]:
        factor = self._pipe.vae_scale_factor
        return sample.height // factor, sample.width // factor


def load(card: ModelCard, device: str, image_cache: int) -> Flux:
    """Load a diffusers folder; raises `OSError` without one, `ValueError` for an unfit one."""
    pipe = read_flux(card, device)
    return Flux(card, pipe, Vaes(pipe.vae, card.model_id, partial(Vae, image_cache=image_cache)))


def read_flux(card: ModelCard, device: str) -> Any:
    """The parts of a Flux checkpoint as a diffusers pipeline; raises what `load` raises."""
    pipe = read(
        diffusers.FluxImg2ImgPipeline, card, device, image_encoder=None, feature_extractor=None
    )
    if pipe.transformer.config.in_channels != PATCH**2 * pipe.vae.config.latent_channels:
        raise ValueError(f"{card.model_id}: its transformer wants more than the latents")
    side = PATCH * pipe.vae_scale_factor
    if card.limits.multiple % side:
        raise ValueError(f"{card.model_id}: limits.multiple must be a multiple of {side}")
    return pipe


def _stacked(rows: list[Any], count: int) -> Any:
    return torch.cat(rows + [rows[-1]] * (count - len(rows)))
