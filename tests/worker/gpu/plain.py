"""What plain diffusers makes of a sample, alone: the measure of every family here."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image

from worker.gpu.samples import Pixels, Sample

SIDE = 64


class Plain:
    """The diffusers pipelines of a family, which share nothing with ours but the files."""

    def __init__(self, folder: Path, family: str = "sd", dtype: str = "float32") -> None:
        if family == "sd":
            self.text = StableDiffusionPipeline
            self.image, self.inpaint = (
                StableDiffusionImg2ImgPipeline,
                StableDiffusionInpaintPipeline,
            )
            options: dict[str, Any] = {"safety_checker": None}
        else:
            self.text = StableDiffusionXLPipeline
            self.image, self.inpaint = (
                StableDiffusionXLImg2ImgPipeline,
                StableDiffusionXLInpaintPipeline,
            )
            options = {"add_watermarker": False}
        self.pipe = self.image.from_pretrained(folder, dtype=getattr(torch, dtype), **options)

    @property
    def config(self) -> dict[str, Any]:
        """Of the model's own scheduler."""
        return dict(self.pipe.scheduler.config)

    def alone(
        self, sample: Sample, config: dict[str, Any] | None = None, output_type: str = "latent"
    ) -> Any:
        """The sample's picture, as latents or as `pil`."""
        scheduler = getattr(diffusers, sample.scheduler).from_config(config or self.config)
        given: dict[str, Any] = {"height": sample.height, "width": sample.width}
        if sample.image is None:
            kind = self.text
        else:
            given["image"], given["strength"] = Image.fromarray(sample.image), sample.strength
            kind = self.image if sample.mask is None else self.inpaint
        if sample.mask is not None:
            given["mask_image"] = Image.fromarray(sample.mask)
        if kind is self.image:
            del given["height"], given["width"]
        pipe = self._as(kind, scheduler)
        return pipe(
            prompt=sample.prompt,
            negative_prompt=sample.negative_prompt or None,
            num_inference_steps=sample.steps,
            guidance_scale=sample.guidance_scale,
            generator=torch.Generator("cpu").manual_seed(sample.seed),
            output_type=output_type,
            **given,
        ).images[0]

    def vae_round_trip(self, sample: Sample) -> Pixels:
        """The init image through the VAE and back."""
        pipe = self.pipe
        generator = torch.Generator("cpu").manual_seed(sample.seed)
        image = pipe.image_processor.preprocess(Image.fromarray(sample.image))
        with torch.no_grad():
            latents = pipe.vae.encode(image).latent_dist.sample(generator)
            return np.array(pipe.image_processor.postprocess(pipe.vae.decode(latents).sample)[0])

    def _as(self, kind: Any, scheduler: Any) -> Any:
        parts = {**self.pipe.components, "scheduler": scheduler}
        options: dict[str, Any] = {"requires_safety_checker": False}
        if kind.__name__.startswith("StableDiffusionXL"):
            names = ["force_zeros_for_empty_prompt"]
            if kind is not self.text:
                names.append("requires_aesthetics_score")
            options = {name: self.pipe.config[name] for name in names} | {"add_watermarker": False}
        pipe = kind(**parts, **options)
        pipe.set_progress_bar_config(disable=True)
        return pipe


def picture(seed: int, side: int = SIDE) -> Pixels:
    """Soft colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((side, side)))


def half_mask(side: int = SIDE) -> Pixels:
    """The right half is repainted."""
    mask = np.zeros((side, side), np.uint8)
    mask[:, side // 2 :] = 255
    return mask


def difference(ours: Any, theirs: Any) -> float:
    """The largest one, relative to the largest value."""
    return float(((ours - theirs).abs().max() / theirs.abs().max()).item())


def run(pipeline: Any, sample: Sample, rows: int = 1) -> Any:
    """The sample without an engine."""
    pipeline.prepare(sample)
    pipeline.begin(sample)
    while sample.step < sample.total:
        pipeline.advance(sample, pipeline.predict([sample], rows)[0])
    return pipeline.finish(sample)
