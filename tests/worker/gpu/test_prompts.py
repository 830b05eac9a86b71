"""Weights in prompts: what is one, what is plain text, and that reading takes no time."""

import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from worker.gpu.prompts import HEAVIEST, Chunk, chunked, parse

UP, DOWN = 1.1, 1 / 1.1
LITTLE = 0.05
"""Seconds, and about ten times what it takes."""
MOST_NESTED = 10
"""1.25 to the tenth is not yet too heavy."""


@pytest.mark.parametrize(
    ("prompt", "fragments"),
    [
        ("", [("", 1.0)]),
        ("a cat, on: a mat", [("a cat, on: a mat", 1.0)]),
        ("(cat)", [("cat", UP)]),
        ("((cat))", [("cat", UP * UP)]),
        ("[cat]", [("cat", DOWN)]),
        ("a (cat:1.3) here", [("a ", 1.0), ("cat", 1.3), (" here", 1.0)]),
        ("(cat : .5 )", [("cat ", 0.5)]),
        ("(cat:-1)", [("cat", -1.0)]),
        ("(big (cat:2) [dog]:1.5)", [("big ", 1.5), ("cat", 3.0), (" ", 1.5), ("dog", 1.5 * DOWN)]),
        ("(un)(necessary)", [("unnecessary", UP)]),
        ("(at 12:30: noon:1.2)", [("at 12:30: noon", 1.2)]),
        ("()[](:2)", [("", 1.0)]),
        (r"a \(cat\) \[x\]", [("a (cat) [x]", 1.0)]),
        (r"(\(cat\):1.3)", [("(cat)", 1.3)]),
        (r"(cat\):1.3)", [("cat)", 1.3)]),
    ],
)
def test_weights(prompt, fragments):
    assert parse(prompt) == tuple(fragments)


@pytest.mark.parametrize(
    "prompt",
    ["(cat", "cat)", "[cat", "cat]", "cat:1.3", "cat:1.3)", ") a cat (", "][", ":( sad", "a\\b"],
)
def test_what_is_no_weight_is_plain_text(prompt):
    assert parse(prompt) == ((prompt, 1.0),)


@pytest.mark.parametrize(
    ("prompt", "fragments"),
    [
        ("(cat:1.2.3)", [("cat:1.2.3", UP)]),
        ("(cat:)", [("cat:", UP)]),
        ("(cat:1e9)", [("cat:1e9", UP)]),
        ("(cat:nan)", [("cat:nan", UP)]),
        ("[cat:1.3]", [("cat:1.3", DOWN)]),
        ("((cat)", [("(", 1.0), ("cat", UP)]),
        ("(a [b) c]", [("a [b", UP), (" c]", 1.0)]),
        ("[a (b] c)", [("a (b", DOWN), (" c)", 1.0)]),
    ],
)
def test_a_part_that_is_no_weight_is_plain_text_too(prompt, fragments):
    assert parse(prompt) == tuple(fragments)


def test_weights_stay_within_what_can_be_painted():
    deep = "(" * 900 + "cat" + ")" * 900

    assert [weight for _, weight in parse(deep + "(dog:99999)")] == [HEAVIEST]
    assert parse(f"(cat:{'9' * 1000})")[0].weight == HEAVIEST
    assert parse("(cat:-99999)")[0].weight == -HEAVIEST


@pytest.mark.parametrize(
    "prompt",
    [
        "(" * 1000 + "cat" + ")" * 1000,
        "(" * 2000,
        ")" * 2000,
        "[(" * 1000,
        "[(" * 667 + "])" * 667,
        "(a:1.1)" * 1000,
        "(" * 1000 + ":1.1)" * 1000,
        "\\(" * 2000,
        ":" * 2000 + ")",
        "(" + "1" * 2000 + ":" + "1" * 2000 + "x)",
    ],
    ids=lambda prompt: prompt[:12],
)
def test_two_thousand_brackets_take_no_time(prompt):
    started = time.perf_counter()
    parse(prompt)

    assert time.perf_counter() - started < LITTLE


SYNTAX = st.text(alphabet="()[]\\:.0123456789-+ aé\U0001f408", max_size=60)


@given(st.text() | SYNTAX)
def test_no_prompt_is_too_strange(prompt):
    fragments = parse(prompt)

    assert fragments
    assert all(-HEAVIEST <= weight <= HEAVIEST for _, weight in fragments)


@given(st.text() | SYNTAX)
def test_the_words_of_any_prompt_survive(prompt):
    def words(text: str) -> str:
        return "".join(
            char for char in text if char not in "()[]\\:.0123456789-+ " and char.strip()
        )

    assert words("".join(text for text, _ in parse(prompt))) == words(prompt)


@given(st.text(alphabet=st.characters(exclude_characters="()[]")))
def test_a_prompt_without_brackets_is_left_alone(prompt):
    assert parse(prompt) == ((prompt, 1.0),)


plain = st.text(alphabet=st.characters(exclude_characters="\\:"), max_size=8)
Weighted = list[tuple[str, float]]


def _escaped(text: str) -> str:
    return "".join(f"\\{char}" if char in "()[]" else char for char in text)


def _inside(tree: tuple[str, Weighted], marks: str, factor: float) -> tuple[str, Weighted]:
    source, weighted = tree
    return f"{marks[0]}{source}{marks[1:]}", [(text, weight * factor) for text, weight in weighted]


def _joined(trees: list[tuple[str, Weighted]]) -> tuple[str, Weighted]:
    return "".join(source for source, _ in trees), [part for _, parts in trees for part in parts]


trees = st.recursive(
    plain.map(lambda text: (_escaped(text), [(text, 1.0)])),
    lambda inner: (
        st.builds(_inside, inner, st.just("()"), st.just(UP))
        | st.builds(_inside, inner, st.just("[]"), st.just(DOWN))
        | st.builds(_inside, inner, st.just("(:1.25)"), st.just(1.25))
        | st.lists(inner, max_size=4).map(_joined)
    ),
    max_leaves=12,
)


@given(trees)
def test_what_was_written_with_brackets_is_read_with_weights(tree):
    source, weighted = tree
    assume(source.count("(") <= MOST_NESTED)

    read = [(char, weight) for text, weight in parse(source) for char in text]

    assert [char for char, _ in read] == [char for text, _ in weighted for char in text]
    written = [weight for text, weight in weighted for _ in text]
    assert [weight for _, weight in read] == pytest.approx(written)


@given(st.lists(st.tuples(st.lists(st.integers(0, 99), max_size=9), st.just(1.0))))
def test_chunks_keep_every_token_in_order(fragments):
    tokens = [token for each, _ in fragments for token in each]

    chunks = chunked(fragments, 4)

    assert [token for chunk in chunks for token in chunk.tokens] == tokens
    assert all(len(chunk.tokens) == 4 for chunk in chunks[:-1])
    assert len(chunks) == max(1, -(-len(tokens) // 4))


def test_a_weight_goes_on_into_the_next_chunk():
    assert chunked([([1], 1.0), ([2, 3], 1.5)], 2) == (
        Chunk((1, 2), (1.0, 1.5)),
        Chunk((3,), (1.5,)),
    )
