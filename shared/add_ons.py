"""What requests may add to a model, read from `models.yaml`: LoRAs, embeddings, VAEs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field

from shared.models import Family


class AddOn(BaseModel):
    """One line of an allow-list: a LoRA or a VAE."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_./-]{1,128}$")
    family: Family
    """Of the models that it was made for."""
    source: Path
    """A safetensors file, or the diffusers folder of a VAE; as in `ModelCard`."""
    licence: str = ""


class Embedding(AddOn):
    """A textual inversion."""

    family: Literal["sd", "sdxl"]
    token: str = Field(pattern=r"^[^\s()\[\]\\]{1,64}$")
    """Stands for its vectors in a prompt; brackets would be read as weights."""


Card = TypeVar("Card", bound=AddOn)


@dataclass(frozen=True, slots=True)
class AddOns:
    """The allow-lists, by name."""

    loras: Mapping[str, AddOn] = field(default_factory=dict)
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)
    vaes: Mapping[str, AddOn] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, *, models_dir: Path) -> "AddOns":
        """Read the models file; raises `ValidationError` naming the field that is wrong."""
        file = yaml.safe_load(path.read_text())

        def section(name: str, kind: type[Card]) -> dict[str, Card]:
            return _cards(file.get(name) or {}, kind, models_dir)

        return cls(
            section("loras", AddOn), section("embeddings", Embedding), section("vaes", AddOn)
        )


def _cards(
    entries: Mapping[str, dict[str, Any]], kind: type[Card], models_dir: Path
) -> dict[str, Card]:
    cards = [kind(name=name, **entry) for name, entry in entries.items()]
    return {c.name: c.model_copy(update={"source": models_dir / c.source}) for c in cards}
