"""The model registry: the allow-list of what this deployment can run, read from `models.yaml`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.checkpoints import PICKLES

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


class Weights(BaseModel):
    """Where weights lie, and where they come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Path
    hub: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")
    """A repository on the Hugging Face hub; only `make models` goes there."""
    revision: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    """A commit of `hub`."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """Of the single file, or of the `SHA256SUMS` that `make models` writes."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    @model_validator(mode="after")
    def _one_kind_of_source(self) -> Self:
        if wrong := self._wrong_source():
            raise ValueError(wrong)
        return self

    def _wrong_source(self) -> str | None:
        if self.source.suffix in PICKLES:
            return f"source: {self.source.suffix} files can run code; only .safetensors are read"
        if (self.hub is None) != (self.revision is None):
            return "hub and revision: one needs the other, a repository and a commit of 40 digits"
        if self.hub and self.is_single_file:
            return "source: a folder, since hub names a repository"
        if self.hub and (self.source.is_absolute() or ".." in self.source.parts):
            return "source: must be inside the models folder, since hub is fetched into it"
        return None

    @property
    def is_single_file(self) -> bool:
        """Whether `source` is one file and not a folder."""
        return self.source.suffix == ".safetensors"

    @property
    def origin(self) -> str | None:
        """`org/name@revision` where the model is fetched from a hub."""
        return f"{self.hub}@{self.revision}" if self.hub else None


class ModelCard(Weights):
    """One line of the allow-list."""

    model_id: str = Field(pattern=r"^[A-Za-z0-9_./-]{1,128}$")
    family: Family
    source: Path
    """A diffusers folder or one `.safetensors` file; relative paths start at `IMG2IMG_MODELS_DIR`.
    With `hub` the folder that is fetched into, by default the id."""
    config: Path | None = None
    """With a single file, a diffusers folder: `model_index.json`, tokenizers, the parts' configs.
    What the file has no weights for is read from there too."""
    scheduler: str = "PNDMScheduler"
    """The diffusers class that serves requests which name none."""
    negative_prompt: str = ""
    """Used when a request has none."""
    limits: Limits = Limits()
    max_batch: int = Field(default=8, ge=1)
    """Rows of one denoising step at the most: the knee of the step-time curve at `default_side`."""
    compile: (
        Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None
    ) = None
    """How `torch.compile` makes the denoiser at start, for the sizes that are warmed up."""
    pool: str = Field(default="default", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Which workers run it: they consume the queue `gpu.<pool>`."""
    licence: str = ""

    @model_validator(mode="before")
    @classmethod
    def _fetched_under_its_id(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("hub") and "model_id" in given:
            return {"source": given["model_id"], **given}
        return given

    def _wrong_source(self) -> str | None:
        if self.is_single_file != (self.config is not None):
            return "config: goes with a single .safetensors file, a folder of configs for it"
        return super()._wrong_source()

    def beneath(self, models_dir: Path) -> "ModelCard":
        """The card with its paths starting at the models folder."""
        config = self.config and models_dir / self.config
        return self.model_copy(update={"source": models_dir / self.source, "config": config})

    @property
    def distilled(self) -> bool:
        """Whether guidance costs nothing: a step has no unconditional rows, whatever its scale."""
        return self.family in DISTILLED

    def strength(self, asked: float, *, masked: bool) -> float:
        """The share of the schedule that a request with an init image really runs."""
        return 1.0 if self.family in EDITORS and not masked else asked


class PromptEnhancer(Weights):
    """A small causal language model that goes on with prompts, at the top level of the file."""

    source: Path = Path("prompt-enhancer")
    """A transformers folder with its tokenizer; relative as those of models are."""
    model_id: Literal["prompt_enhancer"] = "prompt_enhancer"
    family: Literal["text"] = "text"


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

    def __init__(
        self,
        cards: list[ModelCard],
        safety: Safety | None = None,
        enhancer: PromptEnhancer | None = None,
    ) -> None:
        self._cards = {card.model_id: card for card in cards}
        self.safety = safety or Safety()
        self.enhancer = enhancer

    @classmethod
    def read(cls, path: Path, *, models_dir: Path) -> "Registry":
        """Read the models file; raises `ValueError` naming each model and field that is wrong."""
        document = yaml.safe_load(path.read_text())
        cards, wrong = [], []
        for model_id, entry in document["models"].items():
            try:
                card = ModelCard.model_validate({"model_id": model_id, **(entry or {})})
                cards.append(card.beneath(models_dir))
            except ValidationError as error:
                wrong += [f"{path}: {model_id}: {_in_words(problem)}" for problem in error.errors()]
        if wrong:
            raise ValueError("\n".join(wrong))
        safety = Safety(**document.get("safety_checker") or {})
        if safety.source:
            safety = safety.model_copy(update={"source": models_dir / safety.source})
        return cls(cards, safety, _enhancer(document, models_dir))

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


def _enhancer(document: dict[str, Any], models_dir: Path) -> PromptEnhancer | None:
    if (entry := document.get("prompt_enhancer")) is None:
        return None
    enhancer = PromptEnhancer(**entry)
    return enhancer.model_copy(update={"source": models_dir / enhancer.source})


def _in_words(problem: Any) -> str:
    field = ".".join(map(str, problem["loc"]))
    message = problem["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message
