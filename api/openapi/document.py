"""Completes what FastAPI knows of the routes: bodies, answers, examples, and where a key goes."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from pydantic_core import to_json
from starlette.routing import Route

from api.answers import not_found
from api.config import ApiSettings
from api.dialects import DIALECTS, V1, Dialect, Kind, dialect_of
from api.enhance import Styles, read_styles
from api.errors import RepeatedKey
from api.openapi import bodies, v1_bodies
from api.openapi.answers import answer_of
from api.openapi.examples import JOB, REFUSALS, answers_of, request_example
from api.openapi.requests import Choices, Schema, request_schema
from api.openapi.schemas import Schemas, json_answer, refusal
from api.openapi.small_requests import BODIES, small_requests
from api.routes.v1 import examples as v1
from shared.add_ons import AddOn, AddOns
from shared.models import Limits, ModelCard, Registry

Operation = dict[str, Any]

SCHEMES = {
    "KeyHeader": {"type": "apiKey", "in": "header", "name": "key"},
    "Bearer": {"type": "http", "scheme": "bearer"},
    "KeyQuery": {"type": "apiKey", "in": "query", "name": "key"},
}
"""A body may have it, too, in the field `key`."""
NOT_OURS = ("HTTPValidationError", "ValidationError")
V1_DRY_RUN: Schema = {
    "type": ["boolean", "null"],
    "description": "Only check, and say what it would cost",
}
PICTURES = ("image/png", "image/jpeg", "image/webp", "text/plain")
MADE = bodies.Success | bodies.Checked | bodies.Processing | bodies.Failed | bodies.Error
ANYWHERE, WITH_KEY, WITH_BODY = {500}, {400, 401, 403, 429, 503}, {408, 413}
LINKS = {
    name: {
        "operationRef": f"#/paths/~1v1~1jobs~1{{job_id}}/{method}",
        "parameters": {"job_id": "$response.body#/id"},
    }
    for name, method in (("job", "get"), ("cancel", "delete"))
}
LOCATION = {"Location": {"description": "Of the job", "schema": {"type": "string"}}}


def schema_route(app: FastAPI) -> Route:
    """/openapi.json, written once: for each who asks anew, all others would wait meanwhile."""
    written = cache(lambda: to_json(app.openapi()))

    async def openapi(_: Request) -> Response:
        return Response(written(), media_type="application/json")

    return Route("/openapi.json", openapi, include_in_schema=False)


def document(app: FastAPI, settings: ApiSettings) -> dict[str, Any]:
    """/openapi.json of a deployment: its models and their limits are in it."""
    whole = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    schemas = Schemas()
    for path, method, operation in _operations(whole):
        _answers(operation, method, path, schemas)
    registry = Registry.read(settings.models_file, models_dir=settings.models_dir)
    add_ons = AddOns.read(settings.models_file, models_dir=settings.models_dir)
    styles = read_styles(settings.styles_file)
    for dialect in (*DIALECTS.values(), V1):
        cards = _cards(dialect, registry, settings)
        for path, kind in dialect.kinds.items():
            operation = whole["paths"][f"{dialect.prefix}{path}"]["post"]
            _make(operation, dialect, kind, schemas, cards, _choices(cards, add_ons, styles))
        for path in (dialect.fetch_path.replace("{id}", "{job_id}"), dialect.fetch_path[:-5]):
            if dialect is not V1:
                _fetch(whole["paths"][path], dialect, schemas)
    small_requests(whole["paths"], [card.model_id for card in registry])
    for path in ("/v1/admin/pause", "/v1/admin/resume"):
        (pool,) = whole["paths"][path]["post"]["parameters"]
        pool["schema"] = {"type": "string", "enum": sorted(registry.pools)}
    others = whole.get("components", {}).get("schemas", {})
    named = {name: schema for name, schema in others.items() if name not in NOT_OURS}
    whole["components"] = {
        "schemas": named | schemas.named,
        "responses": schemas.refusals,
        "securitySchemes": SCHEMES,
    }
    return whole


def _operations(whole: dict[str, Any]) -> Iterator[tuple[str, str, Operation]]:
    for path, methods in whole["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def _answers(operation: Operation, method: str, path: str, schemas: Schemas) -> None:
    """What it says when nothing is wrong, and every way of refusing."""
    responses = operation["responses"]
    responses.pop("422", None)  # such a request is a 400 here
    if found := answer_of(method, path):
        responses[str(found.status)] = json_answer("Done.", schemas.of(found.model), found.example)
    if path.startswith(("/generations/", "/temp/", "/uploads/")):
        picture: Schema = {"schema": {"type": "string", "format": "binary"}}
        responses["200"] = {"description": "It.", "content": dict.fromkeys(PICTURES, picture)}
    if path == "/metrics":
        text = {"schema": {"type": "string"}, "example": "img2img_submissions_total 3.0"}
        responses["200"] = {"description": "Prometheus text.", "content": {"text/plain": text}}
    own_errors = {int(status) for status in responses if status >= "4"}
    statuses = ANYWHERE | own_errors | _usual(method, path)
    operation.pop("security", None)
    if _has_key(path):
        names = ["Bearer", "KeyHeader"] if path.startswith("/v1/") else list(SCHEMES)
        operation["security"] = [{name: []} for name in names]
    for error in REFUSALS:
        if error.status in statuses:
            responses[str(error.status)] = refusal(error, dialect_of(path), schemas)
    if path == "/readyz":
        responses["503"] = json_answer("One does not.", *_not_ready(schemas))


def _not_ready(schemas: Schemas) -> tuple[Schema, Any]:
    example = {"status": "unavailable", "redis": False, "object_store": True}
    return schemas.of(bodies.Readiness), example


def _has_key(path: str) -> bool:
    return path.startswith(("/api/", "/v1/")) and path != "/v1/errors/{code}"


def _usual(method: str, path: str) -> set[int]:
    """Statuses of refusals that come from what kind of operation it is."""
    statuses = set(WITH_KEY) if _has_key(path) else set()
    if method == "post":
        statuses |= WITH_BODY
    if "{" in path:
        statuses |= {400, 404}
    if path.endswith("delete_image"):
        statuses |= {404, 409}
    if path.endswith("nsfw_image_check"):
        statuses |= {409, 501}
    return statuses


def _cards(dialect: Dialect, registry: Registry, settings: ApiSettings) -> list[ModelCard]:
    """The models that a request of this version can run on."""
    default = registry.get(settings.default_model)
    return [*registry] if dialect.names_model or default is None else [default]


def _choices(cards: list[ModelCard], add_ons: AddOns, styles: Styles) -> Choices:
    families = {card.family for card in cards}
    lists: dict[str, Mapping[str, AddOn]] = {
        "lora_model": add_ons.loras,
        "embeddings_model": add_ons.embeddings,
        "vae": add_ons.vaes,
    }
    named = {
        field: [name for name, each in known.items() if each.family in families]
        for field, known in lists.items()
    }
    return {**named, "model_id": [card.model_id for card in cards], "enhance_style": sorted(styles)}


def _limits(cards: list[ModelCard]) -> Limits:
    """The widest of these models'."""
    each = [card.limits for card in cards]
    return Limits(
        min_side=min(limits.min_side for limits in each),
        max_side=max(limits.max_side for limits in each),
        multiple=min(limits.multiple for limits in each),
        max_samples=max(limits.max_samples for limits in each),
    )


def _make(
    operation: Operation,
    dialect: Dialect,
    kind: Kind,
    schemas: Schemas,
    cards: list[ModelCard],
    choices: Choices,
) -> None:
    """A request for images, and what comes of it."""
    schema = request_schema(dialect, kind, _limits(cards), choices)
    example = request_example(dialect, kind, schema)
    if dialect is V1:
        schema["properties"]["dry_run"] = V1_DRY_RUN
    media = {"schema": schemas.name(f"{kind}-{dialect.name}", schema), "example": example}
    kinds = ("application/json",) if dialect is V1 else BODIES
    operation["requestBody"] = {"required": True, "content": dict.fromkeys(kinds, media)}
    responses = operation["responses"]
    responses["409"] = refusal(RepeatedKey(), dialect, schemas)
    if dialect is V1:
        job, done = schemas.of(v1_bodies.JobBody), schemas.of(v1_bodies.JobBody | v1_bodies.DryRun)
        accepted = json_answer("Accepted.", job, v1.QUEUED)
        responses["202"] = accepted | {"headers": LOCATION, "links": LINKS}
        responses["200"] = json_answer("Done, or tried out.", done, v1.SUCCEEDED)
    else:
        responses["200"] = _made(dialect, schemas)


def _made(dialect: Dialect, schemas: Schemas) -> dict[str, Any]:
    media = {"schema": schemas.of(MADE), "examples": answers_of(dialect)}
    return {"description": "Done, or under way.", "content": {"application/json": media}}


def _fetch(methods: dict[str, Operation], dialect: Dialect, schemas: Schemas) -> None:
    """The result of an earlier request."""
    for operation in methods.values():
        operation["responses"]["200"] = _made(dialect, schemas)
        if dialect.is_modern:
            missing = json_answer("No such job.", schemas.of(bodies.Failed), not_found(JOB.id))
            operation["responses"]["404"] = missing
        else:
            operation["responses"].pop("404", None)
