"""The model registry: the allow-list of what this deployment can run, read from `models.yaml`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

Family = Literal["sd", "sdxl", "flux", "kontext"]
"""Families that have an engine (worker/gpu/families)."""
DISTILLED: frozenset[Family] = frozenset({"flux", "kontext"})
"""Families that take the guidance scale as an input of the denoiser."""
EDITORS: frozenset[Family] = frozenset({"kontext"})
"""Families that start from noise and look at the init image, unless a mask keeps part of it."""


class Limits(BaseModel):
    """What a request may ask of a model; sides in pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_side: int = Field(default=64, ge=8)
    max_side: int = Field(default=1024, le=8192)
    multiple: int = 8
    default_side: int = 512
    """The side that a worker warms up at."""
    max_steps: int = 51
    max_samples: int = Field(default=4, ge=1)


class ModelCard(BaseModel):
    """One line of the allow-list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_id: str = Field(pattern=r"^[A-Za-z0-9_./-]{1,128}$")
    family: Family
    source: Path
    """A diffusers folder; relative paths start at `IMG2IMG_MODELS_DIR`."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    scheduler: str = "PNDMScheduler"
    """The diffusers class that serves requests which name none."""
    negative_prompt: str = ""
    """Used when a request has none."""
    limits: Limits = Limits()
    max_batch: int = 8
    """Rows of one denoising step at the most: the knee of the step-time curve."""
    compile: (
        Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None
    ) = None
    """How `torch.compile` makes the denoiser at start, for the sizes that are warmed up."""
    pool: str = Field(default="default", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Which workers run it: they consume the queue `gpu.<pool>`."""
    licence: str = ""

    @property
    def distilled(self) -> bool:
        """Whether guidance costs nothing: a step has no unconditional rows, whatever its scale."""
        return self.family in DISTILLED

    def strength(self, asked: float, *, masked: bool) -> float:
        """The share of the schedule that a request with an init image really runs."""
        return 1.0 if self.family in EDITORS and not masked else asked


class Safety(BaseModel):
    """Who looks at finished pictures, where a model's folder brings no safety checker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Path | None = None
    """A folder with a `StableDiffusionSafetyChecker`; relative as those of models are."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    required: bool = False
    """Whether every picture is checked, whatever its request says: no worker starts without."""


class Registry:
    """Models by id."""

    def __init__(self, cards: list[ModelCard], safety: Safety | None = None) -> None:
        self._cards = {card.model_id: card for card in cards}
        self.safety = safety or Safety()

    @classmethod
    def read(cls, path: Path, *, models_dir: Path) -> "Registry":
        """Read the models file; raises `ValidationError` naming the field that is wrong."""
        document = yaml.safe_load(path.read_text())
        entries = document["models"].items()
        cards = [ModelCard(model_id=model_id, **entry) for model_id, entry in entries]
        safety = Safety(**document.get("safety_checker") or {})
        if safety.source:
            safety = safety.model_copy(update={"source": models_dir / safety.source})
        return cls([c.model_copy(update={"source": models_dir / c.source}) for c in cards], safety)

    def get(self, model_id: str) -> ModelCard | None:
        """The card of a model, or None when it is not on the list."""
        return self._cards.get(model_id)

    def __iter__(self) -> Iterator[ModelCard]:
        return iter(self._cards.values())

    def in_pools(self, pools: set[str]) -> list[ModelCard]:
        """The models that workers of these pools serve."""
        return [card for card in self._cards.values() if card.pool in pools]

    @property
    def pools(self) -> set[str]:
        """Every pool that serves a model."""
        return {card.pool for card in self._cards.values()}
