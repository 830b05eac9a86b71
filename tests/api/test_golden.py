"""The wire, literally: every version's answers, field by field and type by type.

Files in `golden/` have them as they are, but for what differs each time: ids, links, estimates.
After a change that is meant: `pytest tests/api/test_golden.py --rewrite-golden`.
"""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from api.dialects import DIALECTS, V3, Dialect
from shared.jobs import Failure, Result
from shared.ledger.attempts import Attempts
from shared.tenants import Entry, Tenants
from tests.api.conftest import KEY, PNG, Faulty

pytestmark = pytest.mark.anyio

GOLDEN = Path(__file__).parent / "golden"
IMAGE = base64.b64encode(PNG).decode()
REQUEST = {
    "key": KEY, "model_id": "demo", "prompt": "a cat", "init_image": "https://example.com/cat.png",
    "mask_image": IMAGE, "width": "512", "height": 512, "samples": "2", "seed": 7, "steps": 20,
    "guidance_scale": 7.5, "strength": 0.5, "enhance_prompt": "no", "webhook": None,
}  # fmt: skip
WIDTH = 100
ESTIMATES = ("eta", "retry_after", "queue_time")
WRONG = {
    "missing": dict.fromkeys(REQUEST) | {"key": KEY},
    "wrong types": {"prompt": ["a"], "width": "wide", "strength": "much", "seed": "x"},
    "too small": {"width": 8}, "too large": {"height": 4096}, "odd size": {"height": 500},
    "no samples": {"samples": 0}, "too many samples": {"samples": 5},
    "guidance": {"guidance_scale": 21}, "steps": {"steps": 99}, "no image": {"init_image": "a"},
    "unknown scheduler": {"scheduler": "nope"}, "unknown model": {"model_id": "nope"},
    "no key": {"key": None}, "wrong key": {"key": "wrong"},
}  # fmt: skip
"""Refusals, and what is asked for instead."""


@dataclass(frozen=True)
class Scene:
    """A version of the API, and both ends of the service."""

    client: httpx.AsyncClient
    app: Any
    attempts: Attempts
    dialect: Dialect

    @property
    def makes(self) -> str:
        """Where this version makes images from images, or else version 3 does."""
        dialect = self.dialect if self.dialect.kinds else V3
        path = next(path for path, kind in dialect.kinds.items() if kind != "text2img")
        return f"{dialect.prefix}{path}"

    async def ask(self, path: str, fields: Mapping[str, Any] = REQUEST, **options: Any) -> Any:
        """An answer as the files have it."""
        asked = options or {"json": {k: v for k, v in fields.items() if v is not None}}
        answer = await self.client.post(path, **asked)
        text = answer.text.replace(self.dialect.prefix, "{prefix}")
        return {"http": answer.status_code, "body": settled(json.loads(text))}

    async def fetch(self, job_id: int) -> Any:
        """What this version says of a job."""
        return await self.ask(self.dialect.fetch_path.format(id=job_id), {"key": KEY})

    async def submitted(self) -> int:
        """The id of a new job."""
        answer = await self.client.post(self.makes, json=REQUEST)
        job_id: int = answer.json()["id"]
        return job_id


def settled(body: Any) -> Any:
    """A body, with the types of what differs each time in its place."""
    text = json.dumps(body)
    if isinstance(body, dict) and isinstance(job_id := body.get("id"), int):
        text = re.sub(rf'(id"): {job_id}\b', r'\1: "<int>"', text).replace(str(job_id), "<id>")
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>", text)
    text = re.sub(r"[0-9a-f]{32}", "<hex>", text)
    body = json.loads(text)
    for name in ESTIMATES if isinstance(body, dict) else ():
        if body.get(name):
            body[name] = f"<{type(body[name]).__name__}>"
    return body


async def of_jobs(scene: Scene) -> dict[str, Any]:
    """A job that waits, one that is done, one that failed, and none."""
    done, failed = await scene.submitted(), await scene.submitted()
    attempt = scene.attempts.claim(str(done), "1", "worker")
    assert attempt is not None
    prefix = attempt.job.file_prefix
    keys = tuple(f"generations/{prefix}-{index}.png" for index in range(2))
    result = Result(
        keys=keys, file_prefix=prefix, width=512, height=512, scheduler="DDIMScheduler",
        unsafe=(False, True), seconds=1.25,
    )  # fmt: skip
    scene.attempts.succeed(attempt, result)
    attempt = scene.attempts.claim(str(failed), "1", "worker")
    assert attempt is not None
    message = "Unable to fetch image from provided URL (init_image: HTTP 404)"
    scene.attempts.fail(attempt, Failure(code="invalid_image", message=message))
    return {
        "processing": await scene.fetch(await scene.submitted()),
        "success": await scene.fetch(done),
        "failed": await scene.fetch(failed),
        "unknown id": await scene.fetch(123),
        "no id": await scene.ask(scene.dialect.fetch_path.removesuffix("/{id}"), {"key": KEY}),
    }


async def of_refusals(scene: Scene) -> dict[str, Any]:
    """What keeps a request from becoming a job; older versions take some of it."""
    answers = {
        name: await scene.ask(scene.makes, REQUEST | fields) for name, fields in WRONG.items()
    }
    answers = {
        name: "taken" if answer["body"]["status"] == "processing" else answer
        for name, answer in answers.items()
    }
    answers["no json"] = await scene.ask(scene.makes, content=b"{", headers={"key": KEY})
    scene.app.state.tenants = Tenants([Entry(tenant="alice", key=KEY, most_live=1)])
    answers["too many jobs"] = await scene.ask(scene.makes)
    for name, fault in {"redis away": RedisConnectionError(), "fault": ValueError()}.items():
        scene.app.state.door = replace(scene.app.state.door, submissions=Faulty(fault))
        answers[name] = await scene.ask(scene.makes)
    return answers


def check(name: str, answers: dict[str, Any], *, rewrite: bool) -> None:
    """Compare with the golden file, or write it."""
    file = GOLDEN / f"{name}.json"
    if rewrite:
        file.write_text(laid_out(answers) + "\n")
        pytest.skip(f"{file} rewritten")
    # As text, since Python calls 1, 1.0 and True equal.
    assert laid_out(answers).splitlines() == file.read_text().splitlines()


def laid_out(value: Any, depth: int = 0) -> str:
    """JSON with what is short on one line."""
    line = json.dumps(value, sort_keys=True)
    if len(line) + depth < WIDTH or not isinstance(value, dict):
        return line
    fields = (f'"{name}": {laid_out(value[name], depth + 1)}' for name in sorted(value))
    inner = " " * (depth + 1)
    return "{\n" + ",\n".join(inner + field for field in fields) + "\n" + " " * depth + "}"


def first_like(dialect: Dialect) -> str:
    """Versions that differ in nothing but where they are share a file."""

    def ways(one: Dialect) -> Dialect:
        return replace(one, name="", prefix="")

    return next(name for name, one in DIALECTS.items() if ways(one) == ways(dialect))


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
async def test_answers_are_as_they_were(client, app, attempts, redis, request, dialect):
    scene = Scene(client, app, attempts, dialect)

    answers = await of_jobs(scene)
    if dialect.kinds:
        assert await scene.ask(scene.makes) == answers["processing"]
        answers |= await of_refusals(scene)

    check(first_like(dialect), answers, rewrite=request.config.getoption("--rewrite-golden"))


async def test_small_answers_are_as_they_were(client, app, attempts, redis, request):
    scene = Scene(client, app, attempts, V3)
    idle = await scene.ask("/api/v3/system_load")
    await scene.submitted()
    paths = (
        "/api/v3/system_load", "/api/v6/processing/request_count", "/api/v3/dreambooth/model_list",
        "/api/v1/enterprise/get_all_models", "/api/v1/enterprise/verify_model",
        "/api/v1/enterprise/schedulers_list", "/api/v1/enterprise/system_details",
        "/api/v1/enterprise/load_model", "/api/v1/enterprise/clear_queue",
        "/api/v3/super_resolution", "/api/v3/nsfw_image_check", "/api/v3/nowhere",
    )  # fmt: skip
    uploads = ("/api/v3/base64_crop", "/api/v6/base64_to_url", "/api/v1/enterprise/upload_image")
    answers = {"idle": idle}
    answers |= {path: await scene.ask(path) for path in paths}
    answers |= {path: await scene.ask(path, {"key": KEY, "image": IMAGE}) for path in uploads}

    check("other", answers, rewrite=request.config.getoption("--rewrite-golden"))
