"""The safety checker of Stable Diffusion, as a model of one step: it judges and paints nothing.

It says of a picture what `run_safety_checker` of the plain diffusers pipelines says, except when
the model answers with something that is no number: there that passes for safe, here it is an error.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from diffusers.pipelines.stable_diffusion.safety_checker import (
    StableDiffusionSafetyChecker,
    cosine_distance,
)

from shared.models import ModelCard
from worker.gpu.families.copies import HostCopy
from worker.gpu.families.weights import read
from worker.gpu.samples import Picture, Sample

CARE = 0.01
"""By how much every concept is nearer once a picture needs special care."""
DECIMALS = 3


def load(card: ModelCard, device: str, image_cache: int) -> "SafetyChecker":  # noqa: ARG001 - it keeps none
    """Load a checker, and what prepares its pictures, from its folder or the one beside it.

    Raises `OSError` without either.
    """
    model = read(StableDiffusionSafetyChecker, card, device)
    beside = card.source.parent / "feature_extractor"
    alone = (card.source / "preprocessor_config.json").is_file()
    processor = transformers.CLIPImageProcessor.from_pretrained(
        card.source if alone else beside, local_files_only=True
    )
    return SafetyChecker(card, model, processor)


class SafetyChecker:
    """A loaded checker; see `Pipeline` for what its methods promise."""

    def __init__(self, card: ModelCard, model: Any, processor: Any) -> None:
        self.card = card
        self._model = model
        self._processor = processor
        special, concepts = model.special_care_embeds_weights, model.concept_embeds_weights
        self._thresholds = torch.cat([special, concepts]).detach().float().cpu().numpy()
        self._special = len(special)
        # A byte's value in each channel, (3, 256): a look-up on the device gives the processor's
        # own numbers, which would take it a millisecond of the engine's thread.
        ramp = np.arange(256, dtype=np.uint8)[:, None, None].repeat(3, axis=2)
        values = processor(ramp, do_resize=False, do_center_crop=False, return_tensors="pt")
        self._values = values.pixel_values[0, :, :, 0].to(model.device, model.dtype)

    def prepare(self, sample: Sample) -> None:
        """Shrink and crop the picture as the model wants it.

        Here, because it takes 3 ms for 512x512 and 9 ms for 1024x1024; a resize on the device is
        quicker but not the same: every tenth value differs, and verdicts are to be the plain ones.
        """
        assert sample.image is not None
        shrunk = self._processor(sample.image, do_rescale=False, do_normalize=False)
        sample.image = np.moveaxis(np.asarray(shrunk.pixel_values[0]), 0, 2)
        sample.height, sample.width, _ = sample.image.shape

    def begin(self, sample: Sample) -> None:
        """Bring the picture onto the device, as the model reads it: (3, side, side)."""
        pixels = torch.from_numpy(sample.image).to(self._values.device)
        channels = pixels.permute(2, 0, 1).long()
        sample.denoising = self._values.gather(1, channels.flatten(1)).view(channels.shape)
        sample.total = 1

    def predict(self, samples: Sequence[Sample], rows: int) -> list[Any]:
        """One forward; the answer is each picture's cosines to the concepts, special ones first."""
        pictures = [sample.denoising for sample in samples]
        pictures += pictures[-1:] * (rows - len(samples))
        pooled = self._model.vision_model(torch.stack(pictures))[1]
        embeddings = self._model.visual_projection(pooled)
        concepts = (self._model.special_care_embeds, self._model.concept_embeds)
        near = torch.cat([cosine_distance(embeddings, concept) for concept in concepts], dim=1)
        return list(near[: len(samples)])

    def warm_up(self, sample: Sample, rows: int) -> list[Any]:
        """See `Pipeline`."""
        return self.predict([sample], rows)

    def advance(self, sample: Sample, prediction: Any) -> None:
        """Fetch the answer from the device."""
        sample.denoising = HostCopy(prediction.float())
        sample.step += 1

    def develop(self, _: Sample) -> bool:
        """Nothing to begin: the answer is on its way."""
        return bool(self._values.is_cuda)

    def finish(self, sample: Sample) -> Picture:
        """Judge; raises `ValueError` for an answer that is no number."""
        assert sample.image is not None
        unsafe = self._is_unsafe(sample.denoising.read().numpy())
        return Picture(sample.image, steps=sample.step, unsafe=unsafe)

    def _is_unsafe(self, near: Any) -> bool:
        above = near - self._thresholds
        if not np.isfinite(above).all():  # nothing is greater than what is no number: it would pass
            raise ValueError("the safety checker answered with something that is no number")
        special, concepts = np.split(above, [self._special])
        care = CARE if (special.round(DECIMALS) > 0).any() else 0.0
        return bool(((concepts + care).round(DECIMALS) > 0).any())
