"""What Redis still has once the service is at rest."""

import time
from collections import Counter
from typing import Any

from redis import Redis

LONG = 60 * 60 * 1000
"""Milliseconds: what lives longer is somebody's record, not a sign of life."""
PATIENCE = 30.0


def rest(redis: Redis) -> dict[str, Any]:
    """Wait until nothing is under way, let the records' time be over, and count what stays."""
    deadline = time.monotonic() + PATIENCE
    while busy := [key for key in ("leases", "outbox", "delayed") if redis.exists(key)]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not empty after {PATIENCE:.0f} s: {', '.join(busy)}")
        time.sleep(0.05)
    names = [name for name in redis.scan_iter(count=1000) if redis.pttl(name) > LONG]
    if names:
        redis.delete(*names)
    kinds = Counter(name.partition(":")[0] for name in redis.scan_iter(count=1000))
    used: int = redis.info("memory")["used_memory"]  # type: ignore[index]
    return {"used_memory": used, "keys": kinds.total(), "keys_by_kind": dict(sorted(kinds.items()))}
