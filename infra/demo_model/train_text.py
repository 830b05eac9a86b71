"""Teaches the text encoder to tell from a caption what is in the scene.

CLIP's learnt that from pictures; a UNet that had to wait for it would learn far more slowly.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from infra.demo_model.architecture import TEXT_WIDTH, make_text_encoder
from infra.demo_model.captions import caption
from infra.demo_model.fitting import Plan, fit
from infra.demo_model.scenes import COLOURS, PLACES, RADII, SHAPES, Scene, random_scene
from infra.demo_model.tokenizer import TOKENS, make_tokenizer

BATCH = 32
NONE = ""
ANSWERS = {
    "shape": tuple(SHAPES),
    "colour": tuple(COLOURS),
    "background": tuple(COLOURS),
    "size": tuple(RADII),
    "place": (NONE, *PLACES),
    "second shape": (NONE, *SHAPES),
    "second colour": (NONE, *COLOURS),
}


class Reader(torch.nn.Module):  # type: ignore[misc]
    """The text encoder, and one linear question for each thing there is to know."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = make_text_encoder()
        self.questions = torch.nn.ModuleList(
            torch.nn.Linear(TEXT_WIDTH, len(choices)) for choices in ANSWERS.values()
        )


def train_text_encoder(plan: Plan, folder: Path) -> tuple[Any, list[float]]:
    """The trained text encoder and its losses."""
    torch.manual_seed(plan.seed)
    tokenizer = make_tokenizer(TOKENS)

    def loss_of(reader: Reader, step: int) -> Any:
        ids, answers = questions(tokenizer, np.random.default_rng([plan.seed, 1, step]))
        return cross_entropies(reader, ids, answers).sum()

    def look(reader: Reader, step: int) -> None:
        ids, answers = questions(tokenizer, np.random.default_rng([plan.seed, 2]), count=256)
        with torch.inference_mode():
            off = cross_entropies(reader, ids, answers)
        print(
            f"text-{step:05}:", *(f"{name} {o:.2f}" for name, o in zip(ANSWERS, off, strict=True))
        )

    reader, losses = fit(Reader(), loss_of, plan, folder / "text.pt", look=look)
    return reader.encoder, losses


def cross_entropies(reader: Reader, ids: Any, answers: Any) -> Any:
    """One for each question, asked at the end of the text or anywhere in the padding."""
    states = reader.encoder(ids).last_hidden_state
    ends = (ids == len(TOKENS) - 1).int().argmax(dim=1)
    asked = ends + (torch.rand(len(ids)) * (ids.shape[1] - ends)).long()
    state = states[torch.arange(len(ids)), asked]
    pairs = zip(reader.questions, answers, strict=True)
    return torch.stack([cross_entropy(question(state), answer) for question, answer in pairs])


def questions(tokenizer: Any, rng: np.random.Generator, *, count: int = BATCH) -> tuple[Any, Any]:
    """Token ids of captions, (count, 77), and the indices of the answers, (questions, count)."""
    scenes = [random_scene(rng) for _ in range(count)]
    captions = [caption(scene, rng) for scene in scenes]
    return tokenize(tokenizer, captions), torch.tensor([answers_of(scene) for scene in scenes]).T


def answers_of(scene: Scene) -> list[int]:
    """As indices into the choices."""
    first, second = (*scene.things, None)[:2]
    words = (
        first.shape,
        first.colour,
        scene.background,
        first.size,
        first.place,
        second.shape if second else NONE,
        second.colour if second else NONE,
    )
    return [choices.index(word) for choices, word in zip(ANSWERS.values(), words, strict=True)]


def tokenize(tokenizer: Any, captions: list[str]) -> Any:
    """Token ids as the pipeline makes them, (captions, 77)."""
    options = {"padding": "max_length", "max_length": 77, "truncation": True}
    return tokenizer(captions, return_tensors="pt", **options).input_ids
