"""Textual inversion: words whose vectors were learned, instead of looked up by a text encoder."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file

from shared.add_ons import Embedding
from shared.errors import BadInput

MOST_VECTORS = 75
"""What fits into a chunk."""


@dataclass(frozen=True, eq=False, slots=True)
class Vector:
    """What stands in the place of a token; itself wherever it is kept."""

    values: Any
    """(width,), on the CPU."""


@dataclass(frozen=True, eq=False, slots=True)
class Word:
    """A token of prompts, and what it stands for."""

    token: str
    vectors: tuple[Vector, ...]


def read_word(card: Embedding, part: str, width: int) -> Word:
    """The vectors for one text encoder; `part` is its name in files for several (`clip_l`).

    Raises `BadInput` for a file that is none, or has vectors of another width.
    """
    try:
        tensors = load_file(card.source)
    except Exception as error:
        raise BadInput(f"The embedding {card.name} cannot be read") from error
    only = next(iter(tensors.values())) if len(tensors) == 1 else None
    vectors = tensors.get(part, tensors.get("emb_params", only))
    if vectors is None or vectors.dim() not in (1, 2) or vectors.shape[-1] != width:
        raise BadInput(f"The embedding {card.name} does not fit the model's text encoder")
    rows = vectors.reshape(-1, width)
    if not 0 < len(rows) <= MOST_VECTORS or not rows.isfinite().all():
        raise BadInput(f"The embedding {card.name} is damaged")
    return Word(card.token, tuple(Vector(row) for row in rows))


def split(text: str, words: Sequence[Word]) -> Iterator[str | Word]:
    """The text between the words, and the words: in either case, not inside of longer ones."""
    longest_first = sorted(words, key=lambda word: -len(word.token))
    pattern = "|".join(rf"((?<!\w){re.escape(word.token)}(?!\w))" for word in longest_first)
    start = 0
    for found in re.finditer(pattern, text, re.IGNORECASE) if words else ():
        yield text[start : found.start()]
        assert found.lastindex is not None
        yield longest_first[found.lastindex - 1]
        start = found.end()
    yield text[start:]


@contextmanager
def embedded(encoder: Any, tokens: Sequence[int | Vector]) -> Iterator[Any]:
    """(1, tokens) ids for the encoder, which meanwhile takes the vectors among them as they are."""
    values = {at: token.values for at, token in enumerate(tokens) if isinstance(token, Vector)}
    # An id that is looked up in vain, and that ends no text.
    ids = [0 if isinstance(token, Vector) else token for token in tokens]
    given = torch.tensor([ids], device=encoder.device)
    if not values:
        yield given
        return

    def insert(_module: Any, _inputs: Any, looked_up: Any) -> Any:
        looked_up[:, list(values)] = torch.stack(list(values.values())).to(looked_up)
        return looked_up

    hook = encoder.get_input_embeddings().register_forward_hook(insert)
    try:
        yield given
    finally:
        hook.remove()
