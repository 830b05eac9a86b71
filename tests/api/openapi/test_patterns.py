import re

import pytest

from api.openapi.patterns import any_of, decimal_text, whole_text


@pytest.mark.parametrize(("low", "high"), [(0, 9), (1, 51), (64, 768), (0, 2**32 - 1), (1, None)])
def test_a_whole_number_is_in_its_bounds_as_text(low, high):
    pattern = re.compile(whole_text(low, high))
    near = [*range(1200), 2**32 - 2, 2**32 - 1, 2**32, 2**32 + 1, 10**10]

    allowed = [number for number in near if pattern.match(f" +0{number}.0 ")]

    assert allowed == [n for n in near if low <= n and (high is None or n <= high)]


def test_a_side_is_a_multiple():
    pattern = re.compile(whole_text(64, 768, 8))

    assert [n for n in range(1000) if pattern.match(str(n))] == [*range(64, 769, 8)]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1, 20)])
def test_a_number_is_in_its_bounds_as_text(low, high):
    pattern = re.compile(decimal_text(low, high))

    for text in ("0", "0.0", "0.5", ".5", "1", "1.0", "1.01", "5.", "19.99", "20", "20.0", "20.1"):
        assert bool(pattern.match(text)) == (low <= float(text) <= high), text
    assert not pattern.match("1e0")


def test_words_come_in_any_case():
    assert re.fullmatch(any_of(["yes", "1"]), "yEs")
    assert not re.fullmatch(any_of(["yes", "1"]), "yess")
