"""Examples of answers, made by the functions that make the real ones."""

from typing import Any

from api.answers import not_found, processing
from api.dialects import Dialect, Kind
from api.errors import (
    ApiError,
    BodyTooLarge,
    BodyTooSlow,
    Fault,
    InvalidFields,
    InvalidKey,
    NotAllowed,
    NotFound,
    NotHere,
    RepeatedKey,
    TooManyJobs,
    Unavailable,
)
from api.openapi.requests import Schema
from shared.jobs import Job, JobRecord, JobState, Params, Result
from shared.outcome import meta, outcome

PUBLIC_URL = "https://img.example.com"
PREFIX = "320583cf-a499-4031-8729-c16bf82582e4"
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""One pixel, so that what is tried out in the documentation works."""
JOB = Job(
    id=2459942952603423,
    file_prefix=PREFIX,
    tenant="alice",
    pool="default",
    dialect="v3",
    params=Params(
        model_id="demo",
        prompt="a cat sitting on a bench",
        init_image="https://example.com/cat.png",
        width=256,
        height=256,
        steps=20,
        strength=0.7,
        guidance_scale=7.5,
        scheduler="DDIMScheduler",
        seeds=(42,),
    ),
    echo={"enable_attention_slicing": "false", "enhance_prompt": "no", "revision": "float32"},
)
RESULT = Result(
    keys=(f"generations/{PREFIX}-0.png",),
    file_prefix=PREFIX,
    width=256,
    height=256,
    scheduler="DDIMScheduler",
    seconds=1.7,
)
WAITS = JobRecord(job=JOB, state=JobState.QUEUED, generation=1, attempts=0, created=1895745600)
DONE = WAITS.model_copy(update={"state": JobState.SUCCEEDED, "result": RESULT})
META = meta(DONE)


def answers_of(dialect: Dialect) -> dict[str, Any]:
    """The answers to a request for images that is not refused."""
    return {
        "success": {"value": outcome(DONE, lambda keys: [f"{PUBLIC_URL}/{key}" for key in keys])},
        "processing": {"value": processing(WAITS, 12.0, dialect, PUBLIC_URL)},
        "failed": {"value": not_found(JOB.id)},
    }


REFUSALS: tuple[ApiError, ...] = (
    InvalidFields.of("strength", "must be between 0.0 and 1.0, got 1.4"),
    InvalidKey(given=True),
    NotAllowed("submit"),
    NotFound("Request"),
    BodyTooSlow(),
    RepeatedKey(),
    BodyTooLarge(33 * 2**20),
    TooManyJobs(1000, retry_after=12),
    Fault("Internal server error. Please try again."),
    NotHere("nsfw_image_check", "no worker of it has a safety checker"),
    Unavailable(),
)


def request_example(dialect: Dialect, kind: Kind, schema: Schema) -> dict[str, Any]:
    """A request that works on any deployment."""
    size: Any = 256 if dialect.is_strict else "256"
    example = {
        "model_id": "demo",
        "prompt": "a cat sitting on a bench",
        "negative_prompt": None,
        "init_image": PICTURE,
        "mask_image": PICTURE,
        "width": size,
        "height": size,
        "samples": 1 if dialect.is_strict else "1",
        "strength": 0.7,
        "guidance_scale": 7.5,
        "seed": 42,
        "webhook": None,
        "track_id": "order-7",
    }
    if "model_id" in schema["properties"]:
        example["model_id"] = schema["properties"]["model_id"]["anyOf"][0]["enum"][0]
    if kind == "text2img":
        del example["strength"]
    return {name: value for name, value in example.items() if name in schema["properties"]}
