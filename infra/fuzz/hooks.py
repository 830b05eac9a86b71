"""What schemathesis cannot make up: images, addresses, and times that are soon.

It also leaves the field `key` out of bodies: the key is in the header, where `ignored_auth` looks.
"""

import base64
from datetime import UTC, datetime, timedelta

import schemathesis
from hypothesis import strategies

from infra.fuzz.picture import PNG

_INLINE = base64.b64encode(PNG).decode()
IMAGES = strategies.sampled_from(
    [_INLINE, f"data:image/png;base64,{_INLINE}", "http://127.0.0.1:9/photo.png"]
)
HOOKS = strategies.sampled_from(["http://127.0.0.1:9/hook", "https://example.com/hook?order=7"])


def _soon(seconds: int) -> str:
    return (
        str(seconds)
        if seconds % 2
        else (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    )


schemathesis.openapi.format("image", IMAGES)
schemathesis.openapi.format("upload", IMAGES.filter(lambda image: "://" not in image))
schemathesis.openapi.format("webhook", HOOKS)
schemathesis.openapi.format("deadline", strategies.integers(1, 1000).map(_soon))


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """See the module."""
    if isinstance(case.body, dict) and isinstance(case.body.get("key"), str):
        case.body = {name: value for name, value in case.body.items() if name != "key"}
