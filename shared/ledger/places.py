"""Where a job stands and how busy its pool is, from what `lua/places.lua` found."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.ledger.estimates import Load, Service

Found = Mapping[str, Any]
"""What is absent in Redis is absent here."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a job stands among the others of its pool."""

    ahead: int
    """Jobs that were accepted before it and still wait."""
    turns: int
    """Jobs that have their turn before it, as things are: not the same, since tenants take turns.

    Those that its tenant puts before it, and of each other tenant as many as the tenant's weight
    leaves them, as if theirs were 1; but no more than wait, and as many who will yet come as its
    tenant puts before it.
    """
    waits: bool
    in_lane: bool = False
    """Whether it is still to be published, now or after a delay."""
    is_held_back: bool = False
    """Whether it waits because others of its tenant run."""
    rounds: float = 0.0
    """Times that all places of its tenant's own limit have to come free before it."""
    delay: float = 0.0
    """Seconds until it may have its turn, after a try that failed."""


def read_standing(found: Found) -> Standing:
    """Of a job; one that waits no more stands in front."""
    ahead, place = found.get("ahead"), found.get("place")
    if "delay" in found:  # it will go to the front of its lane
        ahead, place = found["older"], 0
    if place is None:
        return Standing(ahead or 0, found.get("next_up", 0), waits=ahead is not None)
    rivals, limit = found["tenants"] - found["has_turns"], int(found.get("most_running", 0))
    theirs = math.ceil((place + 1) * rivals / float(found.get("weight", 1)))
    others = found["waiting"] - found["published"] - found["own"] + place
    return Standing(
        ahead or 0,
        turns=found["published"] + place + min(others, theirs),
        waits=True,
        in_lane=True,
        is_held_back=found["is_parked"],
        rounds=max(0, place + 1 + found["busy"] - limit) / limit if limit else 0.0,
        delay=found.get("delay", 0) / 1000,
    )


def read_load(found: Found) -> Load:
    """Of a pool."""
    services, bounds = found["services"], found.get("bounds", [])
    return Load(
        waiting=found["waiting"],
        backlog=float(found.get("backlog", 0)),
        running=found["running"],
        workers=found["workers"],
        slots=found["slots"],
        services={
            name: service
            for kind, fields in services.items()
            for name, service in Service.read(kind, _pairs(fields)).items()
        },
        bounds={name: float(bound) for name, bound in _pairs(bounds).items()},
        is_paused=found["is_paused"],
    )


def _pairs(flat: list[str]) -> dict[str, str]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
