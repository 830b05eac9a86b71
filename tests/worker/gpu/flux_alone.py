"""Samples for Flux, and what plain diffusers makes of each of them alone."""

from typing import Any

import numpy as np
import torch
from diffusers import FluxImg2ImgPipeline, FluxInpaintPipeline, FluxPipeline
from PIL import Image

from tests.worker.gpu.fakes import Recorder, make_sample
from worker.gpu.families import Pipeline
from worker.gpu.samples import Picture, Pixels, Sample

SIDE = 64
OWN = "FlowMatchEulerDiscreteScheduler"
TOLERANCE = 1e-5
KINDS = ("dev", "schnell")
FORMS = ("image", "inpaint", "text")


def picture(seed: int, side: int = SIDE) -> Pixels:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((side, side)))


def ragged_mask() -> Pixels:
    """Not along the edges of a token, nor of a latent."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[9:, 27:50] = 255
    return mask


def flux_sample(form: str = "image", **changes: Any) -> Sample:
    """From an image, with a mask too, or from the text alone."""
    options = {
        "model_id": "dev",
        "image": None if form == "text" else picture(changes.get("seed", 0)),
        "mask": ragged_mask() if form == "inpaint" else None,
        "scheduler": OWN,
        "distilled": True,
    }
    return make_sample(**(options | changes))


def alone(
    components: dict[str, Any], sample: Sample, scheduler: Any = None, output_type: str = "latent"
) -> Any:
    """What diffusers makes of the sample, as packed latents or picture."""
    classes = {"text": FluxPipeline, "inpaint": FluxInpaintPipeline, "image": FluxImg2ImgPipeline}
    form, options = "text", {}
    if sample.image is not None:
        form, options = "image", {"image": Image.fromarray(sample.image)}
        options["strength"] = sample.strength
    if sample.mask is not None:
        form, options["mask_image"] = "inpaint", Image.fromarray(sample.mask)
    own = components["scheduler"]
    pipe = classes[form](
        **components | {"scheduler": scheduler or type(own).from_config(own.config)}
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        prompt=sample.prompt,
        height=sample.height,
        width=sample.width,
        num_inference_steps=sample.steps,
        guidance_scale=sample.guidance_scale,
        max_sequence_length=512 if sample.model_id == "dev" else 256,
        generator=torch.Generator("cpu").manual_seed(sample.seed),
        output_type=output_type,
        **options,
    ).images[0]


def difference(ours: Any, theirs: Any) -> float:
    """The largest, relative to the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def run(pipeline: Pipeline | Recorder, sample: Sample, rows: int = 1) -> Picture:
    """The sample without an engine."""
    pipeline.begin(sample)
    while sample.step < sample.total:
        pipeline.advance(sample, pipeline.predict([sample], rows)[0])
    return pipeline.finish(sample)


def final_latents(pipeline: Pipeline, sample: Sample) -> Any:
    """What the sample comes to without an engine."""
    recorder = Recorder(pipeline)
    run(recorder, sample)
    return recorder.latents[sample]
