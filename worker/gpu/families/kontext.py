"""Flux.1 Kontext: an image changed as the prompt instructs, all of it or under a mask.

The init image is context: clean tokens beside those of the picture, which starts from noise and
takes all steps. Strength counts only under a mask, where the picture starts from the image too.
Without an image the prompt alone is painted. Latents equal those of the plain diffusers pipelines,
as in `flux`, when these are called with `_auto_resize=False`: else they scale the image to the
nearest resolution that the model was trained at, and here the caller chose the size.
"""

from functools import partial
from typing import Any

import torch

from shared.models import ModelCard
from worker.gpu.families.flow_schedules import FlowSchedules, noised
from worker.gpu.families.flux import Flux, Kept, Start, read_flux
from worker.gpu.families.schedulers import Schedule
from worker.gpu.families.tokens import packed
from worker.gpu.families.vae import Vae
from worker.gpu.families.vaes import Vaes
from worker.gpu.samples import Sample


class Kontext(Flux):
    """A loaded checkpoint; see `Pipeline` for what its methods promise."""

    def __init__(self, card: ModelCard, pipe: Any, vaes: Vaes[Vae]) -> None:
        super().__init__(card, pipe, vaes)
        self._schedules = FlowSchedules(pipe.scheduler, self._device, even=True)

    def prepare(self, sample: Sample) -> None:
        """Say whether there is context, which doubles the tokens, and name the images."""
        super().prepare(sample)
        sample.context = sample.image is not None

    def _is_from_noise(self, sample: Sample) -> bool:
        return sample.image is None or sample.mask is None

    def _start(self, sample: Sample, schedule: Schedule, generator: Any) -> Start:
        if sample.image is None:
            return Start(self._noise(sample, generator))
        clean = packed(self._vaes.of(sample).encode_mode(sample))
        if not len(schedule.timesteps):
            return Start(clean)
        noise = self._noise(sample, generator)
        if sample.mask is None:
            return Start(noise, context=clean)
        kept = Kept(self._packed_mask(sample.mask), noise, clean)
        return Start(noised(schedule.scheduler, clean, noise), kept, context=clean)

    def _positions(self, sample: Sample) -> Any:
        positions = super()._positions(sample)
        if sample.image is None:
            return positions
        # A context token is where its pixels are, one plane behind.
        return torch.cat([positions, positions + positions.new_tensor([1, 0, 0])])


def load(card: ModelCard, device: str, image_cache: int) -> Kontext:
    """Load a diffusers folder; raises `OSError` without one, `ValueError` for an unfit one."""
    pipe = read_flux(card, device)
    return Kontext(card, pipe, Vaes(pipe.vae, card.model_id, partial(Vae, image_cache=image_cache)))
