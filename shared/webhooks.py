"""What a webhook carries so that its receiver can trust it, and when a failed one is tried again.

Standard Webhooks 1.0, symmetric signatures: headers beside an unchanged body.
"""

import base64
import hmac
import random
from collections.abc import Sequence
from secrets import token_bytes, token_hex

SECRET_PREFIX = "whsec_"  # noqa: S105 (a prefix, not a secret)
SECRET_BYTES = range(24, 65)

DELAYS = (5, 30, 2 * 60, 10 * 60, 30 * 60, 3600, 2 * 3600, 4 * 3600, 8 * 3600)
"""Seconds after each failed attempt; then the results are about to expire."""
JITTER = 0.2
PATIENCE = 20 * 3600.0
"""Seconds, longer than all delays: one that had no turn for so long is given up."""
LONGEST_RETRY_AFTER = 3600.0
"""Seconds for which a receiver can hold us off."""


def new_message_id() -> str:
    """One for each webhook; every attempt to deliver it carries the same."""
    return f"msg_{token_hex(16)}"


def new_secret() -> str:
    """A secret to share with a receiver."""
    return SECRET_PREFIX + base64.b64encode(token_bytes(32)).decode()


def signed_headers(
    message_id: str, body: bytes, secrets: Sequence[str], now: float
) -> dict[str, str]:
    """The headers of one attempt, signed with every secret; `now` in seconds since the epoch.

    Several while one replaces another: the receiver accepts either. None: not signed.
    Raises `ValueError` as `secret_key` does.
    """
    timestamp = str(int(now))
    signed = f"{message_id}.{timestamp}.".encode() + body
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
    }
    if secrets:
        headers["webhook-signature"] = " ".join(_signature(secret, signed) for secret in secrets)
    return headers


def secret_key(secret: str) -> bytes:
    """The bytes of a `whsec_...`; raises `ValueError` when it is not one of 24 to 64 bytes."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(SECRET_PREFIX) or len(key) not in SECRET_BYTES:
        raise ValueError("a webhook secret is whsec_ and 24 to 64 bytes in base64")
    return key


def _signature(secret: str, signed: bytes) -> str:
    digest = hmac.digest(secret_key(secret), signed, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def retry_delay(attempt: int, retry_after: float | None, jitter: random.Random) -> float | None:
    """Seconds to wait after the failed attempt number `attempt`, from 1; None: give up.

    `retry_after` is what the receiver asked for: it can delay the next attempt, not hasten it.
    """
    if attempt > len(DELAYS):
        return None
    planned = DELAYS[attempt - 1] * jitter.uniform(1 - JITTER, 1 + JITTER)
    return max(planned, min(retry_after or 0.0, LONGEST_RETRY_AFTER))
