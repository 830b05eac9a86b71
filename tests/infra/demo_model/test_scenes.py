"""The demo model's world: what is drawn can be told again, and what is said has tokens."""

from itertools import product

import numpy as np
import pytest

from infra.demo_model.captions import caption
from infra.demo_model.judge import Seen, see
from infra.demo_model.scenes import COLOURS, SHAPES, SIDE, Scene, Thing, draw, random_scene
from infra.demo_model.tokenizer import TOKENS, make_tokenizer

PAIRS = [pair for pair in product(COLOURS, COLOURS) if pair[0] != pair[1]]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_judge_sees_each_shape_in_each_colour(shape):
    for n, (colour, background) in enumerate(PAIRS[list(SHAPES).index(shape) :: 4]):
        scene = Scene((Thing(shape, colour, turn=n % 13 - 6),), background, angle=37 * n)

        assert see(draw(scene)) == Seen(background, colour, shape)


def test_the_judge_sees_when_there_is_nothing():
    assert see(draw(Scene((), "green"))) == Seen("green", None, None)


def test_a_seed_is_a_scene():
    first, again, other = (draw(random_scene(np.random.default_rng(n))) for n in (1, 1, 2))

    assert first.shape == (SIDE, SIDE, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_caption_names_what_is_there():
    for n in range(200):
        rng = np.random.default_rng(n)
        scene = random_scene(rng)
        words = caption(scene, rng).lower().replace(",", "").split()

        for thing in scene.things:
            assert {thing.colour, thing.shape} <= set(words)


def test_every_word_for_a_scene_is_one_token():
    words = [*COLOURS, *SHAPES, "small", "big", "background", "left", "right", "top", "bottom"]

    ids = make_tokenizer(TOKENS)(" ".join(words)).input_ids[1:-1]

    assert [TOKENS[token] for token in ids] == [f"{word}</w>" for word in words]


def test_every_text_has_tokens():
    ids = make_tokenizer(TOKENS)("a red CAT, naïve ☃").input_ids

    assert ids[0] == len(TOKENS) - 2
    assert ids[-1] == len(TOKENS) - 1
    assert [TOKENS[i] for i in ids[1:4]] == ["a</w>", "red</w>", "cat</w>"]
