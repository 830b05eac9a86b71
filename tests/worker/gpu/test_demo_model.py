"""The demo model: small, random, and an ordinary diffusers folder all the same."""

import threading

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from infra.demo_model import build as demo_model
from infra.demo_model.build import build, make_pipeline
from infra.demo_model.tokenizer import TOKENS, make_tokenizer


@pytest.fixture(scope="module")
def plain(demo_folder):
    return StableDiffusionImg2ImgPipeline.from_pretrained(demo_folder)


def picture(side: int = 128) -> Image.Image:
    rows, columns = np.mgrid[0:side, 0:side] * 255 // side
    return Image.fromarray(np.stack([rows, columns, 255 - rows], axis=-1).astype(np.uint8))


def paint(pipe, prompt, strength=0.5):
    generator = torch.Generator("cpu").manual_seed(1)
    options = {"num_inference_steps": 4, "generator": generator, "strength": strength}
    return np.array(pipe(prompt, image=picture(), **options).images[0]).astype(float)


def test_unmodified_diffusers_loads_and_runs_it(plain):
    assert paint(plain, "a cat").shape == (128, 128, 3)


def test_its_pictures_are_neither_grey_nor_saturated(plain):
    painted = paint(plain, "a cat")

    assert painted.std() > 15
    assert np.isin(painted, (0, 255)).mean() < 0.1


def test_a_little_strength_keeps_more_of_the_image_than_much(plain):
    def alike(painted):
        return np.corrcoef(painted.ravel(), np.array(picture()).ravel())[0, 1]

    assert alike(paint(plain, "a cat", 0.3)) > alike(paint(plain, "a cat", 1.0))


def test_another_prompt_is_another_picture(plain):
    assert np.abs(paint(plain, "a cat") - paint(plain, "a castle at night")).max() > 10


def test_the_weights_are_the_same_each_time_and_leave_no_trace(plain):
    before = torch.random.get_rng_state()

    again = make_pipeline()

    assert torch.equal(torch.random.get_rng_state(), before)
    for name in ("unet", "vae", "text_encoder"):
        weights = getattr(plain, name).state_dict()
        for key, tensor in getattr(again, name).state_dict().items():
            torch.testing.assert_close(tensor, weights[key], rtol=1e-4, atol=1e-4)


def test_every_text_has_tokens():
    ids = make_tokenizer(TOKENS)("a red CAT, naïve ☃").input_ids

    assert ids[0] == len(TOKENS) - 2
    assert ids[-1] == len(TOKENS) - 1
    assert [TOKENS[i] for i in ids[1:4]] == ["a</w>", "red</w>", "cat</w>"]


class Draft:
    """Saves one small file, after the others are there too."""

    def __init__(self, barrier):
        self.barrier = barrier

    def save_pretrained(self, folder, **options):
        (folder / demo_model.COMPLETE).write_text("{}")
        self.barrier.wait(10)


def test_a_complete_folder_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_model, "make_pipeline", lambda: Draft(threading.Barrier(1)))
    build(tmp_path / "demo")
    monkeypatch.setattr(demo_model, "make_pipeline", None)

    assert build(tmp_path / "demo") == tmp_path / "demo"


def test_several_builders_at_once_leave_one_model_and_no_rubbish(tmp_path, monkeypatch):
    draft = Draft(threading.Barrier(3))
    monkeypatch.setattr(demo_model, "make_pipeline", lambda: draft)
    builders = [threading.Thread(target=build, args=(tmp_path / "demo",)) for _ in range(3)]

    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(20)

    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert (tmp_path / "demo" / demo_model.COMPLETE).exists()


def test_a_folder_with_something_else_is_not_overwritten(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_model, "make_pipeline", lambda: Draft(threading.Barrier(1)))
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("mine")

    with pytest.raises(OSError, match="not empty"):
        build(tmp_path / "demo")

    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
