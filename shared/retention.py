"""What the bucket removes by itself, as rules of its lifecycle."""

from datetime import timedelta
from typing import Any

from shared.config import DAY, TEMPORARY, Settings

OURS = "img2img-"
"""What the names of our rules begin with."""


def lifetimes(settings: Settings) -> dict[str, timedelta]:
    """Inputs, uploads and temporary outputs last a day, other outputs as the settings say."""
    lasting = {"inputs": DAY, "uploads": DAY, "temp": TEMPORARY}
    return lasting | ({"generations": settings.keep_outputs} if settings.keep_outputs else {})


def lifecycle_rules(settings: Settings) -> list[dict[str, Any]]:
    """The same, as the bucket is told it."""
    return [
        {
            "ID": f"{OURS}{folder}",
            "Filter": {"Prefix": f"{folder}/"},
            "Status": "Enabled",
            "Expiration": {"Days": -(-lifetime // DAY)},
        }
        for folder, lifetime in lifetimes(settings).items()
    ]


def is_ours(rule: dict[str, Any]) -> bool:
    """Whether a rule of a bucket is one of these; those of others are none of our business."""
    return str(rule.get("ID", "")).startswith(OURS)
