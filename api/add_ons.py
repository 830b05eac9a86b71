"""LoRAs, embeddings and VAE that a request names, checked against the allow-lists."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.errors import InvalidFields
from shared.add_ons import AddOn, AddOns
from shared.jobs import LoraUse
from shared.models import ModelCard

MOST = 5
"""Of a kind in one request."""
STRONGEST = 2.0
SHOWN = 20
"""Names of an allow-list that an error shows."""
PLACEHOLDER = re.compile(r"null|none|(lora|embeddings|vae)(_model)?(_id)?", re.IGNORECASE)
"""What clients leave in fields that they never filled in."""


@dataclass(frozen=True, slots=True)
class Added:
    """What a request adds to its model."""

    loras: tuple[LoraUse, ...] = ()
    embeddings: tuple[str, ...] = ()
    vae: str | None = None


def choose_add_ons(
    loras: str | None,
    strengths: str | None,
    embeddings: str | None,
    vae: str | None,
    *,
    card: ModelCard,
    add_ons: AddOns,
) -> Added:
    """What these fields name; raises InvalidFields for what is not there for this model."""
    names = _names("lora_model", loras, card, add_ons.loras)
    vaes = _names("vae", vae, card, add_ons.vaes)
    if len(vaes) > 1:
        raise InvalidFields.of("vae", f"must be one name, got {len(vaes)}")
    return Added(
        tuple(
            LoraUse(name=name, strength=strength)
            for name, strength in zip(names, _strengths(strengths, len(names)), strict=True)
        ),
        _names("embeddings_model", embeddings, card, add_ons.embeddings),
        vaes[0] if vaes else None,
    )


def _names(
    field: str, given: str | None, card: ModelCard, known: Mapping[str, AddOn]
) -> tuple[str, ...]:
    parts = _parts(given)
    if len(parts) > MOST:
        raise InvalidFields.of(field, f"must be at most {MOST} names, got {len(parts)}")
    names = [name for name in parts if name and not PLACEHOLDER.fullmatch(name)]
    for name in names:
        if name not in known or known[name].family != card.family:
            raise InvalidFields.of(field, _unfit(name, card, known))
        if names.count(name) > 1:
            raise InvalidFields.of(field, f"must name each only once, got {name!a} twice")
    return tuple(names)


def _unfit(name: str, card: ModelCard, known: Mapping[str, AddOn]) -> str:
    fitting = sorted(each.name for each in known.values() if each.family == card.family)
    allowed = f"one of {', '.join(fitting[:SHOWN])}" if fitting else "absent"
    got = f"{name[:128]!a}"
    if name in known:
        got += f", which is for models of the family {known[name].family}"
    return f"must be {allowed} with the model {card.model_id}, got {got}"


def _strengths(given: str | None, count: int) -> Sequence[float]:
    """One for each LoRA: a single one is for all of them, and what is left out is 1."""
    strengths = [_strength(part) for part in _parts(given)] if count else []
    if len(strengths) == 1:
        return strengths * count
    if len(strengths) > count:
        raise InvalidFields.of(
            "lora_strength", f"must have one number for each LoRA, got {len(strengths)} for {count}"
        )
    return strengths + [1.0] * (count - len(strengths))


def _strength(part: str) -> float:
    try:
        strength = float(part or 1)
    except ValueError:
        strength = -1
    if not 0 <= strength <= STRONGEST:
        allowed = f"numbers from 0 to {STRONGEST:g} with commas between"
        raise InvalidFields.of("lora_strength", f"must be {allowed}, got {part[:40]!a}")
    return strength


def _parts(given: str | None) -> list[str]:
    return [part.strip() for part in given.split(",")] if given else []
