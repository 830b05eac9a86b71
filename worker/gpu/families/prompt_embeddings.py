"""Prompts of any length, with weights, to the hidden states of a text encoder.

A prompt of one chunk without weights has, to the bit, what diffusers' `encode_prompt` gives.
"""

import threading
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from typing import Any

import torch

from shared.add_ons import Embedding
from shared.errors import BadInput
from worker.gpu.families.caches import Cache
from worker.gpu.families.textual_inversion import Vector, Word, embedded, read_word, split
from worker.gpu.prompts import Chunk, chunked, parse

CHUNKS_KEPT = 128
"""Encoded chunks that stay; one is some hundred kilobytes."""
TEXTS_KEPT = 1024
EMBEDDINGS_KEPT = 64
AROUND = 2
"""Tokens that begin and end a chunk."""
MEANINGFUL = 1e-3
"""A mean below this share of the mean size is rounding, and nothing to keep."""
MOST_RESCALED = 4.0
"""A chunk is brought back to its mean by no more than this, in either direction."""

Embeddings = tuple[Embedding, ...]
Read = tuple[Any, Any]
"""(1, 77, width), and what the encoder makes of all tokens together, (1, width), or None."""
ReadStates = Callable[[Any, Any, int | None], Read]
"""(text encoder, (1, 77) token ids, clip skip) -> how a family reads an encoder."""


def last_states(encoder: Any, ids: Any, clip_skip: int | None) -> Read:
    """As Stable Diffusion 1.x and 2.x read theirs: the last layer, or one before it, normed."""
    if clip_skip is None:
        return encoder(ids)[0], None
    states = encoder(ids, output_hidden_states=True).hidden_states
    if clip_skip >= len(states):
        raise BadInput(f"The clip skip must be at most {len(states) - 1} with this model")
    # Newer transformers have no `text_model` inside; diffusers 0.42 fails on those.
    norm = getattr(encoder, "text_model", encoder).final_layer_norm
    return norm(states[-(clip_skip + 1)]), None


class PromptEncoder:
    """A tokenizer and a text encoder. Chunks are encoded one by one, so none depends on others."""

    def __init__(
        self, tokenizer: Any, encoder: Any, read: ReadStates = last_states, part: str = "clip_l"
    ) -> None:
        """`part` is what the files of textual inversions call the encoder."""
        self._part = part
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._read = read
        self._begin, self._end = tokenizer.bos_token_id, tokenizer.eos_token_id
        self._padding, self._length = tokenizer.pad_token_id, tokenizer.model_max_length
        # A tokenizer keeps settings between its calls and is not to be shared by threads.
        self._tokenizing = threading.Lock()
        self._word = lru_cache(EMBEDDINGS_KEPT)(self._word_uncached)
        self._chunks = lru_cache(TEXTS_KEPT)(self._chunks_uncached)
        self._encoded: Cache[Read] = Cache("prompt", CHUNKS_KEPT)

    def chunks(self, text: str, embeddings: Embeddings = ()) -> tuple[Chunk, ...]:
        """The text as the encoder takes it, at least one chunk; from any thread.

        Raises `BadInput` for an embedding that does not fit the encoder.
        """
        return self._chunks(text, embeddings)

    def encode(self, text: str, **options: Any) -> Any:
        """The states of `encode_pooled` alone."""
        return self.encode_pooled(text, **options)[0]

    def encode_pooled(
        self,
        text: str,
        *,
        chunks: int,
        clip_skip: int | None = None,
        embeddings: Embeddings = (),
        loras: Hashable = (),
    ) -> Read:
        """(1, chunks * 77, width); the text is followed by empty chunks up to that number.

        And what the encoder makes of the first chunk as a whole, without weights.

        `loras` tells one state of the encoder from another. Raises what the reading raises:
        `BadInput` for more layers to skip than there are.
        """
        own = self.chunks(text, embeddings)
        padded = own + (Chunk((), ()),) * (chunks - len(own))
        read = [self._encode(chunk.tokens, clip_skip, loras) for chunk in padded]
        rows = [
            self._weighted(chunk, states) for chunk, (states, _) in zip(padded, read, strict=True)
        ]
        return torch.cat(rows, dim=1), read[0][1]

    def _word_uncached(self, card: Embedding) -> Word:
        return read_word(card, self._part, self._encoder.get_input_embeddings().embedding_dim)

    def _chunks_uncached(self, text: str, embeddings: Embeddings) -> tuple[Chunk, ...]:
        words = [self._word(card) for card in embeddings]
        with self._tokenizing:
            fragments = [
                (self._tokens(piece), fragment.weight)
                for fragment in parse(text)
                for piece in split(fragment.text, words)
            ]
        return chunked(fragments, self._length - AROUND)

    def _tokens(self, text: str | Word) -> Sequence[int | tuple[Vector, ...]]:
        if isinstance(text, Word):
            return [text.vectors]
        read = self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)
        tokens: list[int] = read.input_ids
        return tokens

    def _weighted(self, chunk: Chunk, states: Any) -> Any:
        if all(weight == 1.0 for weight in chunk.weights):
            return states
        filler = self._length - len(chunk.weights) - 1
        return weighted(states, (1.0, *chunk.weights, *(1.0,) * filler))

    def _encode(
        self, tokens: tuple[int | Vector, ...], clip_skip: int | None, loras: Hashable
    ) -> Read:
        key = tokens, clip_skip, loras
        if (kept := self._encoded.get(key)) is not None:
            return kept
        whole = [self._begin, *tokens, self._end]
        whole += [self._padding] * (self._length - len(whole))
        with embedded(self._encoder, whole) as ids:
            states, pooled = self._read(self._encoder, ids, clip_skip)
        read = states.to(self._encoder.dtype), pooled
        self._encoded.put(key, read)
        return read


def weighted(states: Any, weights: tuple[float, ...]) -> Any:
    """(1, tokens, width) times a weight for each token, brought back to the mean of before.

    The mean is over the whole chunk, as the web UI does it by default. Where one of the two means
    is next to nothing their quotient is chance, and the states stay as multiplied.
    """
    before = states.float()
    after = before * torch.tensor(weights, device=states.device)[None, :, None]
    quotient = before.mean() / after.mean()
    is_meant = before.mean().abs() > MEANINGFUL * before.abs().mean()
    is_meant &= (quotient > 1 / MOST_RESCALED) & (quotient < MOST_RESCALED)
    return (after * torch.where(is_meant, quotient, 1.0)).to(states.dtype)
