"""What the bucket removes by itself, as rules of its lifecycle."""

from typing import Any

from shared.config import DAY, TEMPORARY, Settings

OURS = "img2img-"
"""What the names of our rules begin with."""


def lifecycle_rules(settings: Settings) -> list[dict[str, Any]]:
    """Inputs, uploads and temporary outputs last a day, other outputs as the settings say."""
    lifetimes = {"inputs": DAY, "uploads": DAY, "temp": TEMPORARY}
    if settings.keep_outputs:
        lifetimes["generations"] = settings.keep_outputs
    return [
        {
            "ID": f"{OURS}{folder}",
            "Filter": {"Prefix": f"{folder}/"},
            "Status": "Enabled",
            "Expiration": {"Days": -(-lifetime // DAY)},
        }
        for folder, lifetime in lifetimes.items()
    ]


def is_ours(rule: dict[str, Any]) -> bool:
    """Whether a rule of a bucket is one of these; those of others are none of our business."""
    return str(rule.get("ID", "")).startswith(OURS)
