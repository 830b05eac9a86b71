"""SDXL's two text encoders: what diffusers makes of a short prompt, and more for a long one."""

import pytest
import torch
from diffusers import StableDiffusionXLImg2ImgPipeline

from shared.errors import BadInput
from shared.models import ModelCard
from tests.worker.gpu.fakes import make_sample
from tests.worker.gpu.tiny_models import save_sdxl
from worker.gpu.families.sdxl import TextAndSizes

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

LONG = "a ship at sea " * 60


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = save_sdxl(tmp_path_factory.mktemp("sdxl") / "tiny")
    return StableDiffusionXLImg2ImgPipeline.from_pretrained(folder, add_watermarker=False)


@pytest.fixture(scope="module")
def conditioning(pipe):
    return TextAndSizes(pipe, ModelCard(model_id="sdxl", family="sdxl", source="x"))


def conditions(conditioning, **changes):
    sample = make_sample(**changes)
    conditioning.prepare(sample)
    with torch.inference_mode():
        return sample.chunks, conditioning.conditions(sample)


@pytest.mark.parametrize("clip_skip", [None, 1])
def test_a_short_prompt_is_encoded_as_diffusers_does_it_to_the_bit(pipe, conditioning, clip_skip):
    with torch.inference_mode():
        theirs, negative, pooled, negative_pooled = pipe.encode_prompt(
            "a cat", negative_prompt="blurry", device="cpu", clip_skip=clip_skip
        )

    chunks, ours = conditions(
        conditioning, prompt="a cat", negative_prompt="blurry", clip_skip=clip_skip
    )

    assert chunks == 1
    assert torch.equal(ours.embeddings, torch.cat([negative, theirs]))
    assert torch.equal(ours.added["text_embeds"], torch.cat([negative_pooled, pooled]))


def test_a_long_prompt_is_read_to_its_end(conditioning):
    chunks, whole = conditions(conditioning, prompt=LONG + "by night")
    _, other_end = conditions(conditioning, prompt=LONG + "by day")

    assert chunks > 1
    assert whole.embeddings.shape[1] == chunks * 77
    assert not torch.equal(whole.embeddings, other_end.embeddings)


def test_a_weight_changes_its_word_and_not_the_pooled_state(conditioning):
    _, plain = conditions(conditioning, prompt="a cat")
    _, heavy = conditions(conditioning, prompt="a (cat:1.4)")

    assert not torch.equal(plain.embeddings, heavy.embeddings)
    assert torch.equal(plain.added["text_embeds"], heavy.added["text_embeds"])


def test_more_layers_than_there_are_cannot_be_skipped(conditioning):
    with pytest.raises(BadInput, match="clip skip"):
        conditions(conditioning, prompt="a cat", clip_skip=8)


def test_a_new_prompt_runs_each_encoder_once_and_an_old_one_none(pipe):
    conditioning = TextAndSizes(pipe, ModelCard(model_id="sdxl", family="sdxl", source="x"))
    calls = []
    encoders = (pipe.text_encoder, pipe.text_encoder_2)
    hooks = [e.register_forward_pre_hook(lambda e, _: calls.append(e)) for e in encoders]

    conditions(conditioning, prompt="a new prompt", guidance_scale=1.0)
    first = list(calls)
    conditions(conditioning, prompt="a new prompt", guidance_scale=1.0)
    for hook in hooks:
        hook.remove()

    assert first == calls == list(encoders)
