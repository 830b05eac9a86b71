"""UNetPipeline: what Stable Diffusion 1.x, 2.x and XL have in common.

Every sample ends in the latents that the plain diffusers pipeline makes for it alone: it owns its
scheduler and its generator, and only the UNet forward is shared.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from shared.errors import BadInput
from shared.models import ModelCard
from shared.schedulers import Choice
from worker.gpu.families.denoiser import Denoiser
from worker.gpu.families.loras import Loras
from worker.gpu.families.schedulers import Schedule, plan
from worker.gpu.families.starts import (
    Kept,
    Start,
    around_mask,
    beside_mask,
    from_image,
    from_noise,
)
from worker.gpu.families.vae import Decoding, Vae, digests
from worker.gpu.families.vaes import Vaes
from worker.gpu.samples import Picture, Sample

PLAIN_CHANNELS = 4
INPAINTING_CHANNELS = 9
"""Latents, the mask, and the latents of the masked image."""


@dataclass(eq=False, slots=True)
class Conditions:
    """What the UNet is told: one row, or two with the unconditional one first."""

    embeddings: Any
    """(halves, tokens, width)."""
    added: dict[str, Any] = field(default_factory=dict)
    """Further tensors by the UNet's own names, (halves, width) each."""


class Conditioning(Protocol):
    """What a family makes of prompts and sizes."""

    def prepare(self, sample: Sample) -> None:
        """See `Pipeline`."""

    def conditions(self, sample: Sample) -> Conditions:
        """Encode the sample's prompts; raises `BadInput`."""


@dataclass(eq=False, slots=True)
class Denoising:
    """A sample between `begin` and `finish`."""

    schedule: Schedule
    times: Any
    """(calls,): the timesteps, on the device."""
    conditions: Conditions
    latents: Any
    """(1, 4, h, w)."""
    kept: Kept | None
    beside: Any
    """See `Start`."""
    decoding: Decoding | None = None

    def scaled(self, timestep: Any) -> Any:
        """The UNet's input for one row."""
        scaled = self.schedule.scheduler.scale_model_input(self.latents, timestep)
        return scaled if self.beside is None else torch.cat([scaled, self.beside], dim=1)


class UNetPipeline:
    """A loaded checkpoint; see `Pipeline` for what its methods promise."""

    def __init__(
        self,
        card: ModelCard,
        unet: Any,
        vaes: Vaes[Vae],
        loras: Loras,
        *,
        scheduler: Mapping[str, Any],
        conditioning: Conditioning,
    ) -> None:
        """`scheduler` is the model's config; raises `ValueError` for a UNet of another kind."""
        channels = unet.config.in_channels
        if channels not in (PLAIN_CHANNELS, INPAINTING_CHANNELS):
            raise ValueError(f"{card.model_id}: a UNet of {channels} channels")
        if unet.config.time_cond_proj_dim is not None:
            raise ValueError(f"{card.model_id}: its UNet takes the guidance scale as an input")
        self.card = card
        self._unet = Denoiser(unet, card)
        self._device = unet.device
        self._vaes = vaes
        self._loras = loras
        self._sees_mask = channels == INPAINTING_CHANNELS
        self._conditioning = conditioning
        # Latents have no bounds to be clipped to; not every checkpoint's config says so.
        self._scheduler = {**scheduler, "clip_sample": False}

    def prepare(self, sample: Sample) -> None:
        """Read what the sample adds to the model, count its prompts' chunks, name its images."""
        self._loras.prepare(sample)
        self._vaes.prepare(sample)
        self._conditioning.prepare(sample)
        sample.digests = digests(sample)

    def begin(self, sample: Sample) -> None:
        """Encode prompt and image, and draw the noise."""
        self._check(sample)
        generator = torch.Generator("cpu").manual_seed(sample.seed)
        schedule = plan(
            self._scheduler,
            Choice(sample.scheduler, sample.scheduler_options),
            steps=sample.steps,
            strength=None if sample.image is None else sample.strength,
            generator=generator,
        )
        self._loras.activate(sample)
        conditions = self._conditioning.conditions(sample)
        start = self._start(sample, schedule, generator)
        sample.denoising = Denoising(
            schedule=schedule,
            times=schedule.timesteps.to(self._device, torch.float32),
            conditions=conditions,
            latents=start.latents,
            kept=start.kept,
            beside=start.beside,
        )
        sample.total = len(schedule.timesteps)

    def predict(self, samples: Sequence[Sample], rows: int) -> list[Any]:
        """One UNet forward; the answer is each sample's guided prediction, (1, 4, h, w)."""
        return self._forward(self._unet, samples, rows)

    def warm_up(self, sample: Sample, rows: int) -> list[Any]:
        """See `Pipeline`."""
        return self._forward(self._unet.warm_up, [sample], rows)

    def _forward(self, unet: Callable[..., Any], samples: Sequence[Sample], rows: int) -> list[Any]:
        self._loras.activate(samples[0])
        states: list[Denoising] = [sample.denoising for sample in samples]
        steps = [s.denoising.schedule.timesteps[s.step] for s in samples]
        inputs = [state.scaled(step) for state, step in zip(states, steps, strict=True)]
        conditions = [state.conditions for state in states]
        halves = conditions[0].embeddings.shape[0]
        times = [s.denoising.times[s.step] for s in samples]
        added = {
            name: _stacked([condition.added[name] for condition in conditions], rows)
            for name in conditions[0].added
        }
        noise = unet(
            torch.cat(_padded(inputs, rows)).repeat(halves, 1, 1, 1),
            timestep=torch.stack(_padded(times, rows)).repeat(halves),
            encoder_hidden_states=_stacked([c.embeddings for c in conditions], rows),
            added_cond_kwargs=added or None,
            exactly=samples[0].strict,
        )
        halved = noise.unflatten(0, (halves, rows))
        return [_guided(halved[:, [row]], s.guidance_scale) for row, s in enumerate(samples)]

    def advance(self, sample: Sample, prediction: Any) -> None:
        """Step the sample's scheduler; what a mask keeps is put back, as noisy as the rest."""
        state: Denoising = sample.denoising
        timesteps = state.schedule.timesteps
        latents = state.schedule.step(prediction, timesteps[sample.step], state.latents)
        sample.step += 1
        if state.kept is not None:
            ahead = timesteps[sample.step : sample.step + 1]
            latents = state.kept.blend(latents, state.schedule.scheduler, ahead)
        state.latents = latents

    def develop(self, sample: Sample) -> bool:
        """Begin to decode the latents."""
        state: Denoising = sample.denoising
        state.decoding = self._vaes.of(sample).begin_decoding(state.latents, sample)
        return bool(self._device.type != "cpu")

    def finish(self, sample: Sample) -> Picture:
        """Decode the latents, unless that is done."""
        state: Denoising = sample.denoising
        pixels = self._vaes.of(sample).decode(state.latents, sample, state.decoding)
        return Picture(pixels=pixels, steps=sample.step)

    def _check(self, sample: Sample) -> None:
        if self._sees_mask and (sample.image is None or sample.mask is None):
            raise BadInput(f"{self.card.model_id} only inpaints: it needs an image and a mask")
        if sample.image is None and sample.mask is not None:
            raise BadInput("A mask needs an image that it belongs to")

    def _start(self, sample: Sample, schedule: Schedule, generator: Any) -> Start:
        vae = self._vaes.of(sample)
        if sample.image is None:
            return from_noise(sample, schedule, vae, generator)
        if sample.mask is None or not len(schedule.timesteps):
            return from_image(sample, schedule, vae, generator)
        inpaint = beside_mask if self._sees_mask else around_mask
        return inpaint(sample, schedule, vae, generator)


def _padded(rows: list[Any], count: int) -> list[Any]:
    return rows + [rows[-1]] * (count - len(rows))


def _stacked(conditions: list[Any], rows: int) -> Any:
    """(halves, ...) of each sample to (halves * rows, ...), all of the first halves first."""
    return torch.stack(_padded(conditions, rows), dim=1).flatten(0, 1)


def _guided(halves: Any, scale: float) -> Any:
    if halves.shape[0] == 1:
        return halves[0]
    unconditional, conditional = halves
    return unconditional + scale * (conditional - unconditional)
