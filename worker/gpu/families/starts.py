"""What a sample starts from: noise, an image, or an image around a mask.

Each function draws from the generator in the order of the diffusers pipeline for its case.
"""

from dataclasses import dataclass
from typing import Any

import torch

from worker.gpu.families.pixels import to_mask
from worker.gpu.families.schedulers import Schedule
from worker.gpu.families.vae import Vae
from worker.gpu.samples import Sample


@dataclass(eq=False, slots=True)
class Kept:
    """What inpainting with an ordinary UNet puts back around the mask after every step."""

    mask: Any
    """(1, 1, h, w); 1 is repainted."""
    noise: Any
    latents: Any
    """The init image's, clean."""

    def blend(self, latents: Any, scheduler: Any, ahead: Any) -> Any:
        """The latents inside the mask, the image's outside, as noisy as the timestep ahead."""
        around = self.latents
        if len(ahead):
            kept, added = _shares(scheduler, ahead, around.dtype)
            around = kept * around + added * self.noise
        return (1 - self.mask) * around + self.mask * latents


@dataclass(eq=False, slots=True)
class Start:
    """Latents before the first step, and what comes along with them to the last."""

    latents: Any
    """(1, 4, h, w)."""
    kept: Kept | None = None
    beside: Any = None
    """(1, 5, h, w): the mask and the image without it, for a UNet trained to see them."""


def from_noise(sample: Sample, schedule: Schedule, vae: Vae, generator: Any) -> Start:
    """Text-to-image."""
    return Start(vae.noise(_size(sample), generator) * schedule.scheduler.init_noise_sigma)


def from_image(sample: Sample, schedule: Schedule, vae: Vae, generator: Any) -> Start:
    """Image-to-image; a schedule without steps leaves the image as the VAE has it."""
    clean = vae.encode(sample, generator)
    if not len(schedule.timesteps):
        return Start(clean)
    noise = vae.noise(_size(sample), generator)
    return Start(schedule.scheduler.add_noise(clean, noise, schedule.timesteps[:1]))


def around_mask(sample: Sample, schedule: Schedule, vae: Vae, generator: Any) -> Start:
    """Inpainting with a UNet that knows nothing of masks."""
    clean = vae.encode(sample, generator)
    noise = vae.noise(_size(sample), generator)
    vae.skip_encode(_size(sample), generator)
    kept = Kept(_shrunk(sample.mask, clean), noise, clean)
    return Start(_first(clean, noise, schedule), kept)


def beside_mask(sample: Sample, schedule: Schedule, vae: Vae, generator: Any) -> Start:
    """Inpainting with a UNet that is shown the mask and the rest of the image at every step."""
    clean = None if schedule.is_whole else vae.encode(sample, generator)
    noise = vae.noise(_size(sample), generator)
    rest = vae.encode_kept(sample, generator)
    beside = torch.cat([_shrunk(sample.mask, rest), rest], dim=1)
    return Start(_first(clean, noise, schedule), beside=beside)


def _shares(scheduler: Any, timestep: Any, dtype: Any) -> tuple[Any, Any]:
    """Of the image and of the noise at a timestep, as scalars of the CPU.

    On latents `add_noise` sends its whole table to the device, and the step would wait for that.
    """
    one, zero = torch.ones((), dtype=dtype), torch.zeros((), dtype=dtype)
    kept, added = (scheduler.add_noise(*p, timestep) for p in ((one, zero), (zero, one)))
    return kept.reshape(()), added.reshape(())


def _first(clean: Any, noise: Any, schedule: Schedule) -> Any:
    if schedule.is_whole:  # where the inpainting pipelines forget the init image
        return noise * schedule.scheduler.init_noise_sigma
    return schedule.scheduler.add_noise(clean, noise, schedule.timesteps[:1])


def _size(sample: Sample) -> tuple[int, int]:
    return sample.height, sample.width


def _shrunk(mask: Any, latents: Any) -> Any:
    shrunk = torch.nn.functional.interpolate(to_mask(mask), size=latents.shape[-2:])
    return shrunk.to(latents.device, latents.dtype)
