"""The Lua scripts, each behind the shared prelude and the settings that all of them take first."""

import json
from functools import cache
from importlib.resources import files

from shared.config import Settings
from shared.queue import message_template

SAYS_PLACES = ("submit", "place")


@cache
def source(name: str) -> str:
    """The text of a script, and of what stands before it."""
    folder = files("shared.ledger") / "lua"
    parts = ("common", *(["places"] if name in SAYS_PLACES else []), name)
    return "".join((folder / f"{part}.lua").read_text() for part in parts)


def script_settings(settings: Settings) -> str:
    """What every script gets as its first argument, as JSON; times in milliseconds."""
    return json.dumps(
        {
            "template": message_template(),
            "ahead": settings.publish_ahead,
            "lease": round(settings.lease.total_seconds() * 1000),
            "keep": round(settings.keep_jobs.total_seconds() * 1000),
            "max_attempts": settings.max_attempts,
            "start_within": round(settings.start_within.total_seconds() * 1000),
        }
    )
