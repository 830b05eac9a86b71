"""What the documentation of `/v1` shows."""

from typing import Any

from api.openapi.examples import META
from api.v1 import ERRORS

JOB_ID = 2459942952603423
IMAGE = {
    "url": "https://img.example.com/generations/320583cf-a499-4031-8729-c16bf82582e4-0.png",
    "seed": 42,
    "unsafe": None,
}
QUEUED = {
    "id": JOB_ID,
    "status": "queued",
    "created": "2030-01-31T12:00:00.000+00:00",
    "model_id": "demo",
    "track_id": "order-7",
    "queue": {"position": 3, "reason": "its_turn_comes", "eta": 12.0},
    "progress": None,
    "images": [],
    "seconds": None,
    "error": None,
    "parameters": META,
    "warnings": ["'promt' is unknown and was ignored; did you mean prompt?"],
    "urls": {
        "self": f"https://img.example.com/v1/jobs/{JOB_ID}",
        "events": f"https://img.example.com/v1/jobs/{JOB_ID}/events",
    },
}
SUCCEEDED = QUEUED | {
    "status": "succeeded",
    "queue": None,
    "images": [IMAGE],
    "seconds": 1.7,
    "warnings": [],
}
ERROR = {
    "error": {
        "code": "invalid_field",
        "param": "strength",
        "message": "strength must be at most 1, got 1.4",
        "request_id": "req_0123456789abcdef",
        "docs_url": "https://img.example.com/v1/errors/invalid_field",
    }
}
DRY_RUN = {
    "dry_run": True,
    "cost": {"megapixel_steps": 3.67},
    "pool": "default",
    "has_worker": True,
    "eta": 4.0,
    "warnings": [],
}
WEBHOOK = {
    "job": JOB_ID,
    "url": "https://example.com/hook",
    "status": "pending",
    "attempts": [{"at": 1895745600.0, "seconds": 0.2, "status": 500, "reason": ""}],
}
EVENTS = (
    'event: queued\ndata: {"position": 1, "reason": "its_turn_comes", "eta": 4.0}\n\n'
    'event: loading\ndata: {"position": 0, "reason": "loading_model", "eta": null}\n\n'
    'event: running\ndata: {"step": 7, "steps": 14}\n\n'
    'event: succeeded\ndata: {"id": 2459942952603423, "status": "succeeded"}\n\n'
)
TERMS = {
    "tenant": "acme",
    "in_file": False,
    "weight": 2.0,
    "errors_as_200": None,
    "most_live": 1000,
    "most_running": 8,
    "most_requests": 20.0,
}
KEY = {
    "id": "0123456789abcdef",
    "tenant": "acme",
    "name": "web shop",
    "scopes": ["read", "submit"],
    "created": "2030-01-31T12:00:00+00:00",
    "expires": "2030-05-01T12:00:00+00:00",
    "disabled": None,
    "last4": "x7Qa",
}
Answers = dict[int | str, dict[str, Any]]


def answers(*codes: str, **shown: Any) -> Answers:
    """What a route answers, by HTTP status: examples, and the errors that it has of its own."""
    documented: Answers = {
        int(status.removeprefix("s")): {
            "description": "As in the example.",
            "content": {"application/json": {"example": example}},
        }
        for status, example in shown.items()
    }
    for code in ("invalid_key", "not_allowed", "too_many_requests", "unavailable", *codes):
        status, meaning = ERRORS[code]
        example = {"error": ERROR["error"] | {"code": code, "param": None, "message": meaning}}
        documented[status] = {
            "description": meaning,
            "content": {"application/json": {"example": example}},
        }
    return documented


def json_body(example: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A body that a route reads itself, as OpenAPI describes it; null there means absent."""
    needed = schema.get("required", [])
    properties = {
        name: each if name in needed else {"anyOf": [each, {"type": "null"}]}
        for name, each in schema["properties"].items()
    }
    media = {"schema": schema | {"properties": properties}, "example": example}
    content = {"application/json": media}
    return {"requestBody": {"required": bool(needed), "content": content}}
