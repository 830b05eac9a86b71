"""A prompt is encoded as diffusers does it, piece by piece when it is long."""

from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from shared.errors import BadInput
from tests.worker.gpu.fakes import Recorder
from tests.worker.gpu.plain import EXACT, demo_sample, difference, encode_alone, run
from worker.gpu.families.prompt_embeddings import PromptEncoder, weighted

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

SECONDS = 60
PIECE = 75
"""Tokens that an encoder takes at once; words of the demo model's vocabulary are one each."""
LONG = "a red castle by the sea at night " * 20
LONGER = "snow " * 151


@pytest.fixture(scope="module")
def pipe(plain):
    return plain.pipe


@pytest.fixture(scope="module")
def prompts(pipe):
    return PromptEncoder(pipe.tokenizer, pipe.text_encoder)


def encoded(prompts, text, chunks=1, clip_skip=None):
    with torch.inference_mode():
        return prompts.encode(text, chunks=chunks, clip_skip=clip_skip)


@pytest.mark.parametrize("clip_skip", [None, 1, 2])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "a cat",
        "  A Cat,  on the\nsea ",
        "naïve 猫 \U0001f408 don't",
        "red " * PIECE,
        "a\\b: 1.3",
    ],
)
def test_a_plain_prompt_has_the_bits_of_diffusers(pipe, prompts, text, clip_skip):
    ours = encoded(prompts, text, clip_skip=clip_skip)

    assert torch.equal(ours, encode_alone(pipe, text, clip_skip))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.characters(exclude_characters="()[]", codec="utf-8"), max_size=30))
def test_any_plain_prompt_has_the_bits_of_diffusers(pipe, prompts, text):
    assume(len(prompts.chunks(text)) == 1)

    assert torch.equal(encoded(prompts, text), encode_alone(pipe, text))


def test_other_padding_is_that_of_the_tokenizer(plain):
    parts = {**plain.pipe.components, "image_encoder": None}
    pipe = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    padding, pipe.tokenizer.pad_token = pipe.tokenizer.pad_token, "!"
    try:
        ours = encoded(PromptEncoder(pipe.tokenizer, pipe.text_encoder), "a cat")
        assert torch.equal(ours, encode_alone(pipe, "a cat"))
        assert pipe.tokenizer.pad_token_id != pipe.tokenizer.eos_token_id
    finally:
        pipe.tokenizer.pad_token = padding


def test_a_long_prompt_is_its_pieces_side_by_side(pipe, prompts):
    words = LONG.split()
    pieces = [" ".join(words[start : start + PIECE]) for start in range(0, len(words), PIECE)]

    ours = encoded(prompts, LONG, chunks=len(pieces))

    assert len(prompts.chunks(LONG)) == len(pieces) == 3
    assert torch.equal(ours, torch.cat([encode_alone(pipe, piece) for piece in pieces], dim=1))


def test_a_short_prompt_is_followed_by_empty_ones(pipe, prompts):
    ours = encoded(prompts, "a cat", chunks=3)

    empty = encode_alone(pipe, "")
    assert torch.equal(ours, torch.cat([encode_alone(pipe, "a cat"), empty, empty], dim=1))


@pytest.mark.parametrize("text", ["(a cat:1)", r"a cat", "((a cat:1):1.0)"])
def test_a_weight_of_one_changes_no_bit(prompts, text):
    assert torch.equal(encoded(prompts, text), encoded(prompts, "a cat"))


def test_weights_multiply_the_states_of_their_own_tokens(prompts):
    plain = encoded(prompts, "a red cat by the sea")
    ours = encoded(prompts, "a (red cat:1.5) by the [sea]")

    factors = (ours / plain).mean(dim=2)[0]
    expected = torch.ones(77)
    expected[2:4], expected[6] = 1.5, 1 / 1.1
    assert torch.allclose(factors / factors[0], expected, rtol=1e-4)


def test_the_mean_stays_as_it_was():
    states = torch.rand(1, 77, 64) + 0.1
    weights = (1.0, 3.0, 0.2, *(1.0,) * 74)

    ours = weighted(states, weights)

    assert ours.mean().item() == pytest.approx(states.mean().item(), rel=1e-5)
    assert (ours[0, 1] / states[0, 1] / (ours[0, 0] / states[0, 0])).mean() == pytest.approx(3)


@pytest.mark.parametrize("weight", [0.0, -10.0, 10.0])
def test_a_mean_of_nothing_is_not_kept(weight):
    states = torch.randn(1, 77, 64, generator=torch.Generator().manual_seed(0))
    states = states - states.mean(dim=2, keepdim=True)
    weights = (1.0, *(weight,) * 75, 1.0)

    ours = weighted(states, weights)

    assert torch.equal(ours, states * torch.tensor(weights)[None, :, None])


def test_lower_precision_comes_back_as_it_was():
    states = (torch.rand(1, 77, 64) + 0.1).bfloat16()

    assert weighted(states, (1.3,) * 77).dtype == torch.bfloat16


def test_more_layers_than_there_are_cannot_be_skipped(prompts):
    with pytest.raises(BadInput, match="clip skip must be at most 2"):
        encoded(prompts, "a cat", clip_skip=3)


def test_any_thread_may_ask_how_long_a_prompt_is(pipe):
    prompts = PromptEncoder(pipe.tokenizer, pipe.text_encoder)
    texts = [f"{LONGER} ({number}:1.2)" for number in range(200)]

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(lambda text: len(prompts.chunks(text)), texts))

    assert counts == [3] * 200


@pytest.mark.parametrize("guidance", [7.5, 1.0])
@pytest.mark.parametrize("prompt", ["a cat", LONG])
@pytest.mark.parametrize("clip_skip", [None, 1, 2])
def test_clip_skip_equals_diffusers_alone(plain, demo, prompt, guidance, clip_skip):
    recorder = Recorder(demo)
    sample = demo_sample(
        prompt=prompt, guidance_scale=guidance, clip_skip=clip_skip, steps=3, strength=1.0
    )

    run(recorder, sample)

    assert difference(recorder.latents[sample][0], plain.alone(sample)) <= EXACT


def test_prompts_of_different_length_share_no_step_and_each_equals_diffusers_alone(
    plain, demo, make_engine
):
    recorder = Recorder(demo)
    engine = make_engine(recorder)
    texts = [("a cat", ""), (LONG, ""), ("a cat", LONG), (LONGER, "red"), ("a dog", "blurry")]
    samples = [
        demo_sample(prompt=prompt, negative_prompt=negative, seed=seed, clip_skip=seed % 2 or None)
        for seed, (prompt, negative) in enumerate(texts)
    ]

    engine.submit(samples)
    wait([sample.done for sample in samples], SECONDS)

    assert [sample.chunks for sample in samples] == [1, 3, 3, 3, 1]
    shared = {frozenset(id(s) for s in together) for together, _ in recorder.forwards}
    assert shared == {
        frozenset(map(id, samples[:1] + samples[4:])),
        frozenset(map(id, samples[1:4])),
    }
    assert max(difference(recorder.latents[s][0], plain.alone(s)) for s in samples) <= EXACT


def test_the_neighbours_of_a_weighted_prompt_do_not_change_a_bit_of_it(demo, make_engine):
    engine = make_engine(demo, buckets=(4,))

    def pixels(*others):
        sample = demo_sample(prompt=f"a (cat:1.4), {LONG}", seed=9)
        engine.submit([*others, sample])
        return sample.done.result(SECONDS).pixels

    with_others = pixels(*(demo_sample(prompt=f"{LONGER} {n}", seed=n) for n in range(3)))

    assert np.array_equal(pixels(), with_others)


def test_a_weight_makes_another_picture(demo):
    light, heavy = (run(demo, demo_sample(prompt=f"a (cat:{w})", seed=1)) for w in (1.0, 1.8))

    assert not np.array_equal(light.pixels, heavy.pixels)
