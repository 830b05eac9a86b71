"""Requests share forward passes, and none of them can tell."""

import base64
import io

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline
from diffusers import schedulers as diffusers_schedulers
from PIL import Image

from shared.schedulers import UNFIT
from tests.e2e.conftest import PHOTO, pixels

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

SIDE = 64
REQUESTS = [
    {
        "prompt": prompt,
        "negative_prompt": negative,
        "num_inference_steps": steps,
        "strength": strength,
        "guidance_scale": guidance,
        "seed": seed,
        "scheduler": scheduler,
    }
    for prompt, negative, steps, strength, guidance, seed, scheduler in [
        ("a red circle", "", 20, 0.9, 7.5, 1, "DDIMScheduler"),
        ("a blue star", "dark", 16, 0.8, 5.0, 2, "EulerDiscreteScheduler"),
        ("a cat", "", 24, 0.5, 3.0, 3, "EulerAncestralDiscreteScheduler"),
        ("a dog on a beach", "blurry", 18, 1.0, 12.0, 4, "DPMSolverMultistepScheduler"),
        ("two trees", "", 15, 0.7, 9.0, 5, "PNDMScheduler"),
        ("snow", "", 20, 0.6, 2.0, 6, "UniPCMultistepScheduler"),
        ("a red circle", "red", 12, 0.95, 7.5, 7, "DDIMScheduler"),
        ("a house", "", 22, 0.4, 6.0, 8, "EulerAncestralDiscreteScheduler"),
        ("night", "", 14, 0.85, 4.0, 9, "EulerDiscreteScheduler"),
        ("a river", "people", 25, 0.75, 8.0, 10, "UniPCMultistepScheduler"),
    ]
]


def test_ten_different_requests_share_steps_and_each_is_what_diffusers_makes_of_it(
    customer, models_dir
):
    before = [customer.metric(f"img2img_engine_{name}_total") for name in ("rows", "steps")]
    answers = customer.post_all(REQUESTS, width=SIDE, height=SIDE, wait=55)
    after = [customer.metric(f"img2img_engine_{name}_total") for name in ("rows", "steps")]

    rows, steps = (now - then for now, then in zip(after, before, strict=True))
    assert rows / steps > 1
    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(
        models_dir / "demo", safety_checker=None, requires_safety_checker=False
    )
    for fields, answer in zip(REQUESTS, answers, strict=True):
        assert _difference(customer.pngs(answer)[0], _alone(pipeline, fields)) <= 1


def test_a_masked_request_is_what_diffusers_makes_of_it(customer, models_dir):
    mask = Image.new("L", (SIDE, SIDE), 0)
    mask.paste(255, (16, 16, 48, 40))
    fields = REQUESTS[2]

    answer = customer.post(mask_image=_encoded(mask), width=SIDE, height=SIDE, **fields)

    pipeline = StableDiffusionInpaintPipeline.from_pretrained(
        models_dir / "demo", safety_checker=None, requires_safety_checker=False
    )
    expected = _alone(pipeline, fields, mask_image=mask, width=SIDE, height=SIDE)
    assert _difference(customer.pngs(answer)[0], expected) <= 1


def test_a_black_mask_and_no_strength_give_the_init_image_as_the_vae_sees_it(customer):
    black = _encoded(Image.new("L", (SIDE, SIDE), 0))

    masked = customer.pngs(customer.post(mask_image=black, seed=5))[0]
    untouched = customer.pngs(customer.post(strength=0, seed=5))[0]

    assert _difference(masked, pixels(untouched)) <= 1


def test_a_name_of_the_web_ui_runs_that_scheduler(customer, models_dir):
    fields = REQUESTS[3]

    answer = customer.post(width=SIDE, height=SIDE, **fields | {"scheduler": "DPM++ 2M SDE Karras"})

    options = {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}
    pipeline = StableDiffusionImg2ImgPipeline.from_pretrained(
        models_dir / "demo", safety_checker=None, requires_safety_checker=False
    )
    expected = _alone(pipeline, fields | {"scheduler_options": options})
    assert _difference(customer.pngs(answer)[0], expected) <= 1
    assert answer["meta"]["scheduler"] == "DPMSolverMultistepScheduler"
    assert answer["meta"]["use_karras_sigmas"] == "yes"


@pytest.mark.parametrize("name", UNFIT)
def test_the_models_own_scheduler_runs_for_a_name_that_does_not_fit(customer, name):
    fields = {"seed": 5, "width": SIDE, "height": SIDE, "num_inference_steps": 4}

    own, answer = (customer.post(**fields, **more) for more in ({}, {"scheduler": name}))

    assert answer["meta"]["scheduler"] == own["meta"]["scheduler"] != name
    assert customer.pngs(answer) == customer.pngs(own)


def test_the_end_of_a_long_prompt_and_weights_are_seen(customer):
    long = "a red castle " * 40
    prompts = [long, f"{long} snow", f"{long} (snow:1.8)"]

    pictures = [customer.pngs(customer.post(prompt=prompt))[0] for prompt in prompts]

    assert len({pixels(picture).tobytes() for picture in pictures}) == len(prompts)


def test_a_clip_skip_beyond_the_model_is_named(customer):
    answer = customer.post(clip_skip=8)

    assert (answer["status"], "clip skip" in answer["message"]) == ("failed", True)


def _alone(pipeline, fields, **more) -> Image.Image:
    """The request, run by the plain pipeline with nothing beside it."""
    arguments = dict(fields)
    scheduler = getattr(diffusers_schedulers, arguments.pop("scheduler"))
    options = arguments.pop("scheduler_options", {})
    pipeline.scheduler = scheduler.from_config(pipeline.scheduler.config, **options)
    pipeline.set_progress_bar_config(disable=True)
    photo = Image.open(PHOTO).convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    generator = torch.Generator("cpu").manual_seed(arguments.pop("seed"))
    return pipeline(image=photo, generator=generator, **arguments, **more).images[0]


def _difference(png: bytes, expected: Image.Image) -> int:
    """The largest difference of a colour value, of 255."""
    values = [np.asarray(picture).astype(int) for picture in (pixels(png), expected)]
    return int(np.abs(values[0] - values[1]).max())


def _encoded(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
