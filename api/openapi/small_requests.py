"""What operations that make no images need to be told."""

from typing import Any

from api.openapi.examples import JOB, PICTURE
from api.openapi.requests import KEY, Schema

Operation = dict[str, Any]

BODIES = ("application/json", "application/x-www-form-urlencoded")
UPLOADS = ("base64_crop", "base64_to_url", "upload_image")
LOADS = ("load_model", "load_model_v2", "model_reload")
REQUEST: Schema = {
    "anyOf": [{"type": "integer"}, {"type": "string", "minLength": 1}],
    "not": {"enum": ["null"]},
    "description": "The `id` of a request",
    "example": JOB.id,
}
UPLOAD: Schema = {
    "type": "string",
    "format": "upload",
    "minLength": 8,
    "description": "Base64, or a data URI, at most 5 MiB",
    "example": PICTURE,
}

IMAGE: Schema = {
    "type": "string",
    "format": "image",
    "minLength": 8,
    "description": "A URL, base64, or a data URI",
    "example": PICTURE,
}


def _takes(operation: Operation, required: list[str], properties: dict[str, Schema]) -> None:
    """A small body, as JSON or as a form."""
    example = {name: schema["example"] for name, schema in properties.items() if name in required}
    shown = {name: _without_example(schema) for name, schema in properties.items()}
    schema: Schema = {"type": "object", "properties": {"key": KEY, **shown}, "required": required}
    media = {"schema": schema, "example": example}
    operation["requestBody"] = {"required": True, "content": dict.fromkeys(BODIES, media)}


def _without_example(schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if name != "example"}


def _asks(operation: Operation, name: str, schema: Schema) -> None:
    """A field of the query string."""
    parameter = {"name": name, "in": "query", "required": True, "schema": _without_example(schema)}
    parameter["example"] = schema["example"]
    operation.setdefault("parameters", []).append(parameter)


def small_requests(paths: dict[str, dict[str, Operation]], models: list[str]) -> None:
    """What the other operations need to be told, by body or by query string."""
    model_id = {"enum": models, "example": models[0]}
    for path, methods in paths.items():
        name = path.rpartition("/")[2]
        wanted = {"verify_model": ("model_id", model_id), "fetch": ("request_id", REQUEST)}
        if name in wanted and path.startswith("/api/"):
            field, schema = wanted[name]
            _takes(methods["post"], [field], {field: schema})
            _asks(methods["get"], field, schema)
        if name in UPLOADS and path.startswith("/api/"):
            _takes(methods["post"], ["image"], {"image": UPLOAD})
        if name in LOADS:
            _takes(methods["post"], ["model_id"], {"model_id": model_id})
        if name == "nsfw_image_check":
            _takes(methods["post"], ["init_image"], {"init_image": IMAGE})
        if name == "delete_image":
            _takes(methods["post"], ["request_id"], {"request_id": REQUEST})
