"""Which pictures are checked for safety, and by whom: a check is a sample, its checker a model.

So checks of all jobs share a forward on the engine's thread, between the steps of other samples.
What comes before that forward, and takes milliseconds on a CPU, is done by the job's own thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from shared.jobs import Params
from shared.models import ModelCard, Safety
from worker.gpu.samples import Picture, Pixels, Sample

WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Checks:
    """The checkers by the ids of the models whose pictures they judge."""

    checkers: Mapping[str, ModelCard]
    required: bool = False

    @classmethod
    def find(cls, cards: Sequence[ModelCard], safety: Safety) -> Self:
        """Look for each model's own checker, then for the stand-alone one.

        Raises `ValueError` naming the model that has none where that is required.
        """
        found = {card.model_id: _checker(card, safety) for card in cards}
        checkers = {model_id: checker for model_id, checker in found.items() if checker}
        if safety.required and (without := found.keys() - checkers.keys()):
            names = ", ".join(sorted(without))
            raise ValueError(f"safety_checker is required, and these models have none: {names}")
        return cls(checkers, safety.required)

    @property
    def cards(self) -> list[ModelCard]:
        """What is to be loaded, each once."""
        return list(dict.fromkeys(self.checkers.values()))

    def checker(self, params: Params) -> ModelCard | None:
        """Who judges the pictures of a request; None: nobody."""
        if self.required:
            return self.checkers[params.model_id]
        return self.checkers.get(params.model_id) if params.safety_checker else None


def check_of(picture: Picture, checker: ModelCard, of: Sample) -> Sample:
    """A check of the picture that a sample became; its own picture says whether it is `unsafe`."""
    return check(picture.pixels, checker, of.job_id, strict=of.strict)


def check(pixels: Pixels, checker: ModelCard, job_id: int, *, strict: bool = False) -> Sample:
    """A check of (height, width, 3) RGB; see `check_of`."""
    height, width, _ = pixels.shape
    return Sample(
        job_id=job_id,
        model_id=checker.model_id,
        prompt="",
        negative_prompt="",
        image=pixels,
        mask=None,
        height=height,
        width=width,
        steps=1,
        strength=1.0,
        guidance_scale=1.0,
        scheduler="",
        seed=0,
        strict=strict,
    )


def _checker(card: ModelCard, safety: Safety) -> ModelCard | None:
    own = card.source / "safety_checker"
    processor = card.source / "feature_extractor"
    if card.family == "sd" and (own / WEIGHTS).is_file() and processor.is_dir():
        return _card(own, card.dtype)
    return _card(safety.source, safety.dtype) if safety.source else None


def _card(source: Path, dtype: str) -> ModelCard:
    card = ModelCard(model_id="checker", family="sd", source=source)
    # An id and a family that no line of the allow-list can have: no request can ask for it.
    names = {"model_id": f"safety checker {source}", "family": "safety"}
    return card.model_copy(update={**names, "dtype": dtype})
