"""The demo model's vocabulary: every byte, and common words of prompts as one token each."""

from collections import Counter
from itertools import pairwise
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

END = "</w>"
WORDS = (
    "a an and of the in on at with by from to no photo picture painting drawing sketch "
    "portrait landscape art style digital oil watercolor pencil cartoon anime realistic "
    "photorealistic cinematic detailed highly best quality masterpiece high low resolution "
    "sharp blurry ugly bad beautiful cute light dark lighting sunset sunrise night day sky "
    "sea ocean beach mountain forest tree flower garden city street house castle room red "
    "green blue yellow orange purple pink black white gold silver man woman boy girl child "
    "person people face hair eyes hand cat dog horse bird fish dragon robot car ship space "
    "planet star moon sun cloud rain snow winter summer spring autumn fantasy magic old new "
    "big small large little circle square triangle heart cross ring background front middle left "
    "right top bottom that is one focus professional "
)


def make_tokenizer(tokens: list[str]) -> Any:
    """CLIP's tokenizer over these tokens; prompts of up to 75 tokens."""
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocabulary, merges=MERGES, model_max_length=77)


def _learn_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte pair encoding, learnt until every word is one token."""
    split = [[*word[:-1], word[-1] + END] for word in words]
    merges = []
    while pairs := Counter(pair for parts in split for pair in pairwise(parts)):
        merges.append(min(pairs, key=lambda pair: (-pairs[pair], pair)))
        split = [_merge(parts, merges[-1]) for parts in split]
    return merges


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def _tokens() -> list[str]:
    # Sorted, because the alphabet comes in another order in each process.
    alphabet = sorted(ByteLevel.alphabet())
    merged = [left + right for left, right in MERGES]
    specials = ["<|startoftext|>", "<|endoftext|>"]
    return [*alphabet, *(letter + END for letter in alphabet), *merged, *specials]


MERGES = _learn_merges(WORDS.split())
TOKENS = _tokens()
