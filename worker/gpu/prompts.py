"""Prompts with weights, read as text: no torch.

`(word:1.3)` weighs 1.3, `(word)` 1.1, `[word]` 1/1.1, and what brackets in brackets weigh is
multiplied. `\\(` is a bracket and no more. Anything else, a bracket without its partner too, is
plain text.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

ROUND, SQUARE = 1.1, 1 / 1.1
HEAVIEST = 10.0
"""Far beyond what still makes a picture; deep brackets would run out of numbers."""
MARK = re.compile(r"(\\[()\[\]]|[()\[\]])")
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
PARTNER = {")": "(", "]": "["}


class Fragment(NamedTuple):
    """Text of one weight."""

    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tokens that a text encoder takes at once, without those around them, and their weights."""

    tokens: tuple[Any, ...]
    """Ids, and what textual inversions put in the place of one."""
    weights: tuple[float, ...]


def parse(prompt: str) -> tuple[Fragment, ...]:
    """The prompt without its marks, at least one fragment; takes time as the prompt is long."""
    pieces = MARK.split(prompt)  # text and marks by turns
    pairs = _pairs(pieces)
    factors = {start: _factor(pieces, end) for end, start in pairs.items()}
    fragments = [f for f in _weighted(pieces, factors, pairs) if f.text]
    return tuple(
        Fragment("".join(fragment.text for fragment in alike), weight)
        for weight, alike in groupby(fragments, key=lambda fragment: fragment.weight)
    ) or (Fragment("", 1.0),)


def chunked(fragments: Iterable[tuple[Sequence[Any], float]], size: int) -> tuple[Chunk, ...]:
    """Tokens with weights in pieces of `size`, or somewhat shorter; at least one.

    A tuple among the tokens, of at most `size`, stays together.
    """
    pieces: list[list[tuple[Any, float]]] = [[]]
    for token, weight in ((token, weight) for tokens, weight in fragments for token in tokens):
        whole = token if isinstance(token, tuple) else (token,)
        if len(pieces[-1]) + len(whole) > size:
            pieces.append([])
        pieces[-1] += [(part, weight) for part in whole]
    return tuple(
        Chunk(tuple(token for token, _ in piece), tuple(weight for _, weight in piece))
        for piece in pieces
    )


def _pairs(pieces: Sequence[str]) -> dict[int, int]:
    """Closing bracket -> the opening one that it ends; one without a partner is in no pair."""
    pairs: dict[int, int] = {}
    opened: list[int] = []
    waiting: Counter[str] = Counter()
    for index in range(1, len(pieces), 2):
        mark = pieces[index]
        if mark in PARTNER.values():
            opened.append(index)
            waiting[mark] += 1
        elif waiting[PARTNER.get(mark, mark)]:
            start = opened.pop()
            while pieces[start] != PARTNER[mark]:
                waiting[pieces[start]] -= 1
                start = opened.pop()
            waiting[pieces[start]] -= 1
            pairs[index] = start
    return pairs


def _factor(pieces: list[str], end: int) -> float:
    """What a pair multiplies by; a number that says so is taken out of the text."""
    if pieces[end] == "]":
        return SQUARE
    text, colon, number = pieces[end - 1].rpartition(":")
    if colon and NUMBER.fullmatch(number.strip()):
        pieces[end - 1] = text
        return float(number)
    return ROUND


def _weighted(
    pieces: Sequence[str], opening: dict[int, float], closing: dict[int, int]
) -> Iterator[Fragment]:
    weights = [1.0]
    for index, piece in enumerate(pieces):
        if index in opening:
            weight = weights[-1] * opening[index]
            weights.append(max(-HEAVIEST, min(weight, HEAVIEST)))
        elif index in closing:
            weights.pop()
        else:
            is_escaped = index % 2 and piece.startswith("\\")
            yield Fragment(piece[1:] if is_escaped else piece, weights[-1])
