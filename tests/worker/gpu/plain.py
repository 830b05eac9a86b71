"""What plain diffusers makes of a sample, alone: the measure of every family here.

A plain pipeline knows no weights in prompts, and cuts long ones off: for those it is given the
embeddings of our `PromptEncoder`, which has tests of its own. And for less than one step it fails
or adds noise: what is expected there is the image as the VAE has it.
"""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import (
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    FluxPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)
from PIL import Image

from shared.models import ModelCard
from tests.worker.gpu.fakes import Recorder, make_sample
from worker.gpu.families import Pipeline
from worker.gpu.families.flow_schedules import fitting
from worker.gpu.families.prompt_embeddings import PromptEncoder
from worker.gpu.families.sd import TextConditioning
from worker.gpu.families.sdxl import TextAndSizes
from worker.gpu.prompts import Fragment, parse
from worker.gpu.samples import Picture, Pixels, Sample

SIDE = 64
EXACT = 1e-5
"""The most that latents may differ by, relative to the largest of them."""
OWN = "FlowMatchEulerDiscreteScheduler"
"""Flux's."""
FORMS = ("image", "mask", "text")
PIPELINES = {
    "sd": (
        StableDiffusionImg2ImgPipeline,
        StableDiffusionInpaintPipeline,
        StableDiffusionPipeline,
    ),
    "sdxl": (
        StableDiffusionXLImg2ImgPipeline,
        StableDiffusionXLInpaintPipeline,
        StableDiffusionXLPipeline,
    ),
    "flux": (FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "sd": {"safety_checker": None},
    "sdxl": {"add_watermarker": False},
    "flux": {},
}


class Plain:
    """The diffusers pipelines of a family, which share nothing with ours but the files."""

    def __init__(self, folder: Path, family: str = "sd", dtype: str = "float32") -> None:
        self._family = family
        precision = getattr(torch, dtype)
        first, *_ = PIPELINES[family]
        self.pipe = first.from_pretrained(folder, dtype=precision, **OPTIONS[family])
        self._dtype = precision
        if family == "sd":
            # diffusers 0.42 looks for the last norm where transformers had it until lately.
            vars(self.pipe.text_encoder).setdefault("text_model", self.pipe.text_encoder)
            encoder = PromptEncoder(self.pipe.tokenizer, self.pipe.text_encoder)
            self._conditioning: Any = TextConditioning(encoder)
        if family == "sdxl":
            card = ModelCard(model_id="plain", family="sdxl", source=folder)
            self._conditioning = TextAndSizes(self.pipe, card)

    @property
    def config(self) -> dict[str, Any]:
        """Of the model's own scheduler."""
        return dict(self.pipe.scheduler.config)

    def alone(
        self, sample: Sample, scheduler: Any = None, output_type: str = "latent", rows: int = 1
    ) -> Any:
        """The sample's picture, as latents (packed, for Flux) or as `pil`.

        With more rows, others are made of other seeds in the same batch.
        """
        form = "text" if sample.image is None else "image" if sample.mask is None else "mask"
        if form != "text" and not self._steps(sample):
            return self._encoded(sample)
        pipe, given = self._of(form), self._prompts(sample)
        if form != "text":
            given |= {"image": Image.fromarray(sample.image), "strength": sample.strength}
        if form == "mask":
            given["mask_image"] = Image.fromarray(sample.mask)
        if form != "image" or self._family == "flux":  # others take the image's size
            given |= {"height": sample.height, "width": sample.width}
        generators = [torch.Generator("cpu").manual_seed(sample.seed + row) for row in range(rows)]
        pipe.scheduler = scheduler or self._scheduler(sample)
        return pipe(
            **given,
            num_inference_steps=sample.steps,
            guidance_scale=sample.guidance_scale,
            generator=generators if rows > 1 else generators[0],
            num_images_per_prompt=rows,
            output_type=output_type,
        ).images[0]

    def spread(self, sample: Sample) -> float:
        """How far diffusers goes from itself when it does not make the sample alone."""
        alone = self.alone(sample)
        return max(difference(self.alone(sample, rows=rows), alone) for rows in (2, 4, 8))

    def vae_round_trip(self, sample: Sample) -> Pixels:
        """The init image through the VAE and back."""
        pipe = self.pipe
        generator = torch.Generator("cpu").manual_seed(sample.seed)
        image = pipe.image_processor.preprocess(Image.fromarray(sample.image))
        with torch.no_grad():
            latents = pipe.vae.encode(image).latent_dist.sample(generator)
            return np.array(pipe.image_processor.postprocess(pipe.vae.decode(latents).sample)[0])

    def _of(self, form: str) -> Any:
        """The pipeline for a form, of the parts that `pipe` has by now."""
        pipeline = PIPELINES[self._family][FORMS.index(form)]
        pipe = pipeline.from_pipe(self.pipe, dtype=self._dtype)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _steps(self, sample: Sample) -> int:
        taken = sample.steps * sample.strength
        return int(np.ceil(taken)) if self._family == "flux" else int(taken)

    def _encoded(self, sample: Sample) -> Any:
        pipe, generator = self._of("mask"), torch.Generator("cpu").manual_seed(sample.seed)
        image = pipe.image_processor.preprocess(Image.fromarray(sample.image))
        with torch.no_grad():
            latents = pipe._encode_vae_image(image.to(pipe.dtype), generator)  # noqa: SLF001
        if self._family == "flux":
            latents = pipe._pack_latents(latents, *latents.shape)  # noqa: SLF001
        return latents[0]

    def _scheduler(self, sample: Sample) -> Any:
        own = self.pipe.scheduler
        if self._family != "flux":
            kind = getattr(diffusers, sample.scheduler)
            return kind.from_config(own.config, **sample.scheduler_options)
        if sample.scheduler in fitting(own.config, from_noise=sample.image is None):
            return self.flow_form(sample.scheduler)
        return type(own).from_config(own.config)

    def flow_form(self, name: str) -> Any:
        """A scheduler for models that match flows, of this class."""
        config = self.config
        return getattr(diffusers, name).from_config(
            config,
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            flow_shift=config["shift"],
        )

    def _prompts(self, sample: Sample) -> dict[str, Any]:
        if self._family == "flux":
            length = 512 if self.pipe.transformer.config.guidance_embeds else 256
            return {"prompt": sample.prompt, "max_sequence_length": length}
        self._conditioning.prepare(sample)
        texts = (sample.prompt, sample.negative_prompt)
        if sample.chunks == 1 and all(parse(text) == (Fragment(text, 1.0),) for text in texts):
            return {
                "prompt": sample.prompt,
                "negative_prompt": sample.negative_prompt or None,
                "clip_skip": sample.clip_skip,
            }
        with torch.no_grad():
            conditions = self._conditioning.conditions(sample)
        embeddings = {"prompt_embeds": conditions.embeddings}
        if self._family == "sdxl":
            embeddings["pooled_prompt_embeds"] = conditions.added["text_embeds"]
        given = {name: rows[-1:] for name, rows in embeddings.items()}
        if sample.key.guided:
            given |= {f"negative_{name}": rows[:1] for name, rows in embeddings.items()}
        return given


def encode_alone(pipe: Any, text: str, clip_skip: int | None = None) -> Any:
    """(1, 77, width), by a pipeline of Stable Diffusion."""
    with torch.no_grad():
        return pipe.encode_prompt(text, "cpu", 1, False, clip_skip=clip_skip)[0]


def picture(seed: int, side: int = SIDE) -> Pixels:
    """Soft colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((side, side)))


def half_mask(side: int = SIDE) -> Pixels:
    """The right half is repainted."""
    mask = np.zeros((side, side), np.uint8)
    mask[:, side // 2 :] = 255
    return mask


def ragged_mask(height: int = SIDE, width: int = SIDE) -> Pixels:
    """Not along the edges of a token, nor of a latent."""
    mask = np.zeros((height, width), np.uint8)
    mask[9:, 27:50] = 255
    return mask


def demo_sample(**changes: Any) -> Sample:
    """From an image, by the demo model."""
    options = {"model_id": "demo", "image": picture(0), "negative_prompt": "blurry"}
    return make_sample(**(options | changes))


def flux_sample(form: str = "image", **changes: Any) -> Sample:
    """From an image, with a mask too, or from the text alone."""
    options = {
        "model_id": "dev",
        "image": None if form == "text" else picture(changes.get("seed", 0)),
        "mask": ragged_mask() if form == "mask" else None,
        "scheduler": OWN,
        "distilled": True,
    }
    return make_sample(**(options | changes))


def difference(ours: Any, theirs: Any) -> float:
    """The largest one, relative to the largest value."""
    return float(((ours - theirs).abs().max() / theirs.abs().max()).item())


def run(pipeline: Pipeline | Recorder, sample: Sample, rows: int = 1) -> Picture:
    """The sample without an engine."""
    pipeline.prepare(sample)
    pipeline.begin(sample)
    while sample.step < sample.total:
        pipeline.advance(sample, pipeline.predict([sample], rows)[0])
    return pipeline.finish(sample)


def final_latents(pipeline: Pipeline, sample: Sample) -> Any:
    """What the sample comes to without an engine."""
    recorder = Recorder(pipeline)
    run(recorder, sample)
    return recorder.latents[sample]
