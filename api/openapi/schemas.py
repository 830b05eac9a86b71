"""The named parts of the document: schemas of bodies, and refusals."""

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from api.dialects import V1, Dialect
from api.errors import ApiError
from api.openapi import bodies, v1_bodies
from api.openapi.examples import PUBLIC_URL
from api.openapi.requests import Schema

ROOT = "#/components/schemas/"
RETRY = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 0}}}
REQUEST_ID = {"X-Request-Id": {"description": "As in the body", "schema": {"type": "string"}}}


class Schemas:
    """The named schemas of the document, gathered as they are needed."""

    def __init__(self) -> None:
        self.named: dict[str, Schema] = {}
        self.refusals: dict[str, dict[str, Any]] = {}

    def of(self, model: Any) -> Schema:
        """A type's schema; what has a name in it becomes a reference."""
        schema = _schema_of(model)
        self.named |= schema.get("$defs", {})
        schema = {name: part for name, part in schema.items() if name != "$defs"}
        return self.name(schema["title"], schema) if isinstance(model, type) else schema

    def name(self, name: str, schema: Schema) -> Schema:
        """A reference to it, under a name; the same schema keeps its first name."""
        known = next((each for each, other in self.named.items() if other == schema), name)
        self.named[known] = schema
        return {"$ref": ROOT + known}


@cache
def _schema_of(model: Any) -> Schema:
    template = ROOT + "{model}"
    return TypeAdapter(model).json_schema(mode="serialization", ref_template=template)


def refusal(error: ApiError, dialect: Dialect, schemas: Schemas) -> dict[str, str]:
    age = "v1" if dialect is V1 else "modern" if dialect.is_modern else "old"
    name = f"{type(error).__name__}-{age}"
    if name not in schemas.refusals:
        schemas.refusals[name] = _described(error, dialect, schemas)
    return {"$ref": f"#/components/responses/{name}"}


def _described(error: ApiError, dialect: Dialect, schemas: Schemas) -> dict[str, Any]:
    headers = RETRY if "Retry-After" in error.headers else {}
    meaning = (type(error).__doc__ or "").splitlines()[0]
    if dialect is V1:
        body = error.v1_body("req_0123456789abcdef", PUBLIC_URL)
        answer, headers = (
            json_answer(meaning, schemas.of(v1_bodies.V1Error), body),
            headers | REQUEST_ID,
        )
    else:
        answer = json_answer(meaning, schemas.of(bodies.Error), error.body(dialect))
    return answer | ({"headers": headers} if headers else {})


def json_answer(description: str, schema: Schema, example: Any) -> dict[str, Any]:
    content = {"application/json": {"schema": schema, "example": example}}
    return {"description": description, "content": content}
