"""The demo model: an ordinary diffusers folder that does what its prompts say."""

import shutil
import threading

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline

from infra.demo_model import build as provision
from infra.demo_model.build import CHECKPOINT, COMPLETE, build
from infra.demo_model.evaluate import (
    by_strength,
    inpaint,
    likeness,
    load,
    make_cases,
    obedience,
    paint,
    share_of,
)
from infra.demo_model.judge import see

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

PRAISE = "highly detailed, sharp focus, professional lighting, high resolution"


@pytest.fixture(scope="module")
def pipe():
    torch.set_num_threads(1)
    return load()


@pytest.fixture(scope="module")
def cases():
    return make_cases(20)


@pytest.fixture(scope="module")
def few(cases):
    return cases[:8]


@pytest.fixture(scope="module")
def strong(pipe, cases):
    return paint(pipe, cases, strength=1.0)


def test_it_is_small():
    files = list(CHECKPOINT.rglob("*.safetensors"))

    assert sum(file.stat().st_size for file in files) < 12e6


def test_unmodified_diffusers_loads_and_runs_it_without_options(few):
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(CHECKPOINT)

    assert pipe("a red ring", image=few[0].init, num_inference_steps=2).images[0].size == (128, 128)


def test_colour_shape_and_background_are_as_the_prompt_says(cases, strong):
    held = obedience(cases, strong)

    assert held["both"] >= 0.8
    assert held["background"] >= 0.9


def test_at_less_strength_the_prompt_is_still_obeyed(pipe, cases):
    assert obedience(cases, paint(pipe, cases, strength=0.8))["both"] >= 0.7


def test_the_more_strength_the_less_it_is_like_the_init_image(pipe, few):
    alike = [*by_strength(pipe, [case.unchanged() for case in few]).values()]

    assert alike == sorted(alike, reverse=True)
    assert alike[0] > alike[-1] + 3


def test_another_prompt_wins_over_the_init_image_bit_by_bit(pipe, few):
    low, middle, high = (likeness(few, paint(pipe, few, strength=s)) for s in (0.2, 0.4, 0.8))

    assert low > middle > high


def test_a_mask_keeps_the_outside_and_the_inside_follows_the_prompt(pipe, few):
    held = inpaint(pipe, few)

    assert held["least PSNR outside"] >= 25
    assert held["colour"] >= 0.6


def test_a_negative_prompt_keeps_a_colour_away(pipe, few):
    prompt = "a star on a white background"
    options = {"prompt": prompt, "strength": 1.0}
    colours = [see(image).colour for image in paint(pipe, few, **options)]
    common = max(colours, key=colours.count)

    negated = paint(pipe, few, negative_prompt=common, **options)

    assert share_of(common, negated) < colours.count(common) / len(few)


def test_more_guidance_obeys_more(pipe, cases, strong):
    free = paint(pipe, cases, strength=1.0, guidance_scale=1.0)

    assert obedience(cases, strong)["both"] > obedience(cases, free)["both"]


def test_praise_and_unknown_words_do_not_derail_it(pipe, few):
    prompt = f"a blue star on a yellow background, zxqv {PRAISE}"

    seen = [see(image) for image in paint(pipe, few, prompt=prompt, strength=1.0)]

    assert sum((it.colour, it.background) == ("blue", "yellow") for it in seen) >= 6


def test_a_seed_repeats_and_another_differs(pipe, few):
    first, again = (np.asarray(paint(pipe, few[:1], strength=1.0)[0]) for _ in range(2))
    other = np.asarray(paint(pipe, few[1:2], prompt=few[0].prompt, strength=1.0)[0])

    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).max() > 10


def test_a_complete_folder_is_left_alone(tmp_path, monkeypatch):
    build(tmp_path / "demo")
    monkeypatch.setattr(shutil, "copytree", None)

    assert build(tmp_path / "demo") == tmp_path / "demo"


def test_several_builders_at_once_leave_one_model_and_no_rubbish(tmp_path, monkeypatch):
    barrier = threading.Barrier(3)
    copy = shutil.copytree

    def copy_together(*args, **options):
        copy(*args, **options)
        barrier.wait(10)

    monkeypatch.setattr(provision.shutil, "copytree", copy_together)
    builders = [threading.Thread(target=build, args=(tmp_path / "demo",)) for _ in range(3)]

    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(20)

    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert (tmp_path / "demo" / COMPLETE).exists()


def test_a_folder_with_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("mine")

    with pytest.raises(OSError, match="not empty"):
        build(tmp_path / "demo")

    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
