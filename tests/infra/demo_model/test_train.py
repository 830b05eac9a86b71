"""Training: resumable, and what it writes is an ordinary diffusers folder."""

import sys

import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from infra.demo_model import fitting, train, train_unet, train_vae
from infra.demo_model.fitting import Plan, fit


def distance(module, step):
    """From a line with noise of the step's own."""
    given = torch.randn(8, 3)
    return (module(given) - given.sum(dim=1, keepdim=True)).square().mean()


def make_module():
    torch.manual_seed(0)
    return torch.nn.Linear(3, 1)


def test_the_rate_rises_stays_and_falls():
    plan = Plan(steps=100, rate=1.0, warm_up=10, fall_from=0.5)

    assert [plan.rate_at(step) for step in (0, 9, 50, 75, 99)] == [0.1, 1.0, 1.0, 0.5, 0.02]


def test_a_resumed_training_is_the_same_as_an_uninterrupted_one(tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "SAVE_EVERY", 7)
    plan = Plan(steps=20, rate=0.1, warm_up=2)
    whole, losses = fit(make_module(), distance, plan, tmp_path / "whole", look=lambda *_: None)

    class Stop(Exception):
        pass

    def stop(module, step):
        raise Stop

    with pytest.raises(Stop):
        fit(make_module(), distance, plan, tmp_path / "parts", look=stop)
    resumed, again = fit(make_module(), distance, plan, tmp_path / "parts", look=lambda *_: None)

    assert again == losses
    assert losses[-1] < losses[0]
    assert torch.equal(resumed.weight, whole.weight)


def test_one_command_makes_a_checkpoint_that_plain_diffusers_loads(tmp_path, monkeypatch):
    monkeypatch.setattr(train_unet, "SCENES", 20)
    monkeypatch.setattr(train_vae, "SCENES", 20)
    few = ["--text-steps=1", "--vae-steps=2", "--unet-steps=1", "--threads=1"]
    folders = [f"--state={tmp_path / 'state'}", f"--to={tmp_path / 'model'}"]
    monkeypatch.setattr(sys, "argv", ["train", *few, *folders])

    train.main()

    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(tmp_path / "model")
    assert pipe.unet.dtype == pipe.vae.dtype == pipe.text_encoder.dtype == torch.float32
    assert {path.name for path in (tmp_path / "state").glob("*.png")} == {
        "losses.png",
        "unet-00001.png",
        "vae-00002.png",
    }
    with Image.open(tmp_path / "state" / "unet-00001.png") as sheet:
        assert sheet.size == (4 * 132 - 4, 2 * 132 - 4)
