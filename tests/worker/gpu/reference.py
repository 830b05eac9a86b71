"""Plain diffusers with prompts of any length and scheduler options: the demo model's measure."""

import diffusers
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline
from PIL import Image

from tests.worker.gpu.fakes import make_sample
from tests.worker.gpu.plain import SIDE, picture

PIECE = 75


def plain_pipelines(folder):
    """The pipelines of diffusers, which share nothing with ours but the files; True: inpainting."""
    img2img = StableDiffusionImg2ImgPipeline.from_pretrained(folder, safety_checker=None)
    # diffusers 0.42 looks for the last norm where transformers had it until lately.
    vars(img2img.text_encoder).setdefault("text_model", img2img.text_encoder)
    inpaint = StableDiffusionInpaintPipeline(**img2img.components, requires_safety_checker=False)
    for pipe in (img2img, inpaint):
        pipe.set_progress_bar_config(disable=True)
    return {False: img2img, True: inpaint}


def demo_sample(**changes):
    options = {"model_id": "demo", "image": picture(0), "negative_prompt": "blurry"}
    return make_sample(**(options | changes))


def prompts(pipe, sample):
    """The prompts as a plain pipeline takes them: text, or what it makes of the pieces of it.

    Words of the demo model's vocabulary are one token each, and a plain pipeline takes 75.
    """
    texts = {"prompt": sample.prompt, "negative_prompt": sample.negative_prompt}
    words = {field: text.split() for field, text in texts.items()}
    if max(map(len, words.values())) <= PIECE:
        return {**texts, "clip_skip": sample.clip_skip}
    chunks = max(-(-len(each) // PIECE) for each in words.values())
    return {
        f"{field}_embeds": torch.cat(
            [
                encode_alone(
                    pipe,
                    " ".join(each[chunk * PIECE : (chunk + 1) * PIECE]),
                    clip_skip=sample.clip_skip if field == "prompt" else None,
                )
                for chunk in range(chunks)
            ],
            dim=1,
        )
        for field, each in words.items()
    }


def encode_alone(pipe, text, clip_skip=None):
    with torch.no_grad():
        return pipe.encode_prompt(text, "cpu", 1, False, clip_skip=clip_skip)[0]


def alone(plain, sample, config=None, output_type="latent"):
    """What diffusers makes of the sample, as tensor or picture."""
    inpainting = sample.mask is not None
    pipe = plain[inpainting]
    scheduler = getattr(diffusers, sample.scheduler).from_config(
        config or pipe.scheduler.config, **sample.scheduler_options
    )
    pipe = type(pipe)(**{**pipe.components, "scheduler": scheduler}, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    where = {}
    if inpainting:
        where = {"height": SIDE, "width": SIDE, "mask_image": Image.fromarray(sample.mask)}
    return pipe(
        **prompts(pipe, sample),
        image=Image.fromarray(sample.image),
        strength=sample.strength,
        num_inference_steps=sample.steps,
        guidance_scale=sample.guidance_scale,
        generator=torch.Generator("cpu").manual_seed(sample.seed),
        output_type=output_type,
        **where,
    ).images[0]
