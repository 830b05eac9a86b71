"""What schemathesis cannot make up: images, addresses, times that are soon, and a job that exists.

It also leaves two things out of bodies: the field `key`, since the key is in the header, where
`ignored_auth` looks, and the second names of fields, which the schema does not list.
"""

import base64
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from hypothesis import strategies

from api.openapi.examples import JOB
from api.requests import ImageRequest
from api.v1 import NAMES
from infra.fuzz.picture import PNG

ALIASES = NAMES - ImageRequest.model_fields.keys()
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
    if isinstance(case.body, dict):
        left_out = ALIASES | ({"key"} if isinstance(case.body.get("key"), str) else set())
        case.body = {name: value for name, value in case.body.items() if name not in left_out}
    # What can be no id is answered with the id "", which schemathesis then asks for.
    if isinstance(path := case.path_parameters, dict) and path.get("job_id") == "":
        case.path_parameters = path | {"job_id": str(JOB.id)}
    for part in ("path_parameters", "query", "body"):
        if isinstance(fields := getattr(case, part), dict):
            setattr(case, part, {name: _real(value) for name, value in fields.items()})


def _real(value: Any) -> Any:
    """The job that the run began with for the one in the examples, a tenant that can be changed."""
    if isinstance(value, int | str) and str(value) == str(JOB.id):
        return type(value)(os.environ["FUZZ_JOB"])
    return "acme" if value == os.environ["FUZZ_TENANT"] else value
