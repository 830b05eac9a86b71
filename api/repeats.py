"""Tells a repeat of a request from another request under the same Idempotency-Key."""

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any

SMALL = 2**14
"""Characters that are hashed sooner than handed to a thread."""


async def digest(fields: Mapping[str, Any], dialect: str, kind: str) -> str:
    """The same for a repeat alone."""
    texts = [value for value in fields.values() if isinstance(value, str)]
    if sum(map(len, texts)) < SMALL:
        return _digest(fields, dialect, kind)
    return await asyncio.to_thread(_digest, fields, dialect, kind)


def _digest(fields: Mapping[str, Any], dialect: str, kind: str) -> str:
    body = {name: value for name, value in fields.items() if name != "key"}
    # The same fields make another image elsewhere, and the answer has other words.
    asked = json.dumps([dialect, kind, body], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()
