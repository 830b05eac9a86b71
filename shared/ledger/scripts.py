"""The Lua scripts, each behind the shared prelude and the settings that all of them take first."""

import json
from functools import cache
from importlib.resources import files

from shared.config import Settings
from shared.queue import message_template


@cache
def source(name: str) -> str:
    """The text of a script, prelude included."""
    folder = files("shared.ledger") / "lua"
    return (folder / "common.lua").read_text() + (folder / f"{name}.lua").read_text()


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
