"""Every error text that the public API documents, in the version that documents it.

Ours may go on after it, with what came. Texts about credits and subscriptions have no case here.
"""

import base64
from dataclasses import replace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.tenants import Entry, Tenants
from tests.api.conftest import KEY, PNG, Faulty

pytestmark = pytest.mark.anyio

OLD, NEW = "/api/v3/img2img", "/api/v6/images/img2img"
FIELDS = {
    "key": KEY,
    "model_id": "demo",
    "prompt": "a cat",
    "init_image": base64.b64encode(PNG).decode(),
}


@pytest.mark.parametrize(
    ("path", "changes", "status", "text"),
    [
        (OLD, {"key": "wrong"}, 401, "Invalid Api Key"),
        (NEW, {"key": "wrong"}, 401, "Invalid API key"),
        (NEW, {"key": None}, 401, "API key required"),
        ("/api/v4/dreambooth/img2img", {"model_id": "no"}, 400, "Model id not found"),
        (NEW, {"model_id": "no"}, 400, "Model not found: no"),
        ("/api/v6/images/text2img", {"prompt": None}, 400, "prompt is required"),
        (NEW, {"prompt": ["a"]}, 400, "prompt must be a string"),
        (NEW, {"width": 8}, 400, "width must be between 64 and 1024"),
        (NEW, {"width": 9000}, 400, "width must be between 64 and 1024, got 9000"),
        (NEW, {"height": -8}, 400, "height must be between 64 and 1024, got -8"),
        (NEW, {"height": 500}, 400, "height must be divisible by 8"),
        (NEW, {"samples": 5}, 400, "samples must be between 1 and 4"),
        (NEW, {"samples": 0}, 400, "samples must be between 1 and 4"),
        (NEW, {"guidance_scale": 0.5}, 400, "guidance_scale must be between 1 and 20"),
        (NEW, {"guidance_scale": 21}, 400, "guidance_scale must be between 1 and 20"),
    ],
)
async def test_a_refusal_begins_as_documented(client, path, changes, status, text):
    answer = await client.post(path, json=FIELDS | changes)

    body = answer.json()
    assert (answer.status_code, body["status"]) == (status, "error")
    assert body["message"].startswith(text)
    assert body["messege"] == body["message"]


async def test_a_missing_field_of_older_versions_is_an_object(client):
    body = (await client.post(OLD, json=FIELDS | {"prompt": None})).json()

    assert body["message"] == {"prompt": ["The prompt field is required."]}


async def test_what_is_no_json_comes_with_a_list_to_check(client):
    body = (await client.post(OLD, content=b"{", headers={"key": KEY})).json()

    assert body["message"] == "Invalid API Request"
    assert body["tip"].startswith("1. Make sure you are passing Content-Type: application/json")


async def test_too_many_jobs_are_told_when_to_come_back(client, app):
    app.state.tenants = Tenants([Entry(tenant="alice", key=KEY, most_live=5)])
    answers = [await client.post(NEW, json=FIELDS) for _ in range(6)]

    body = answers[-1].json()
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert body["message"] == "Rate limit exceeded. Maximum 5 queued requests allowed."
    assert int(answers[-1].headers["retry-after"]) == body["retry_after"]


async def test_too_many_jobs_are_refused_though_nobody_can_read_how_busy_the_pool_is(
    client, app, redis
):
    app.state.tenants = Tenants([Entry(tenant="alice", key=KEY, most_live=1)])
    redis.set("service:default:busy", "no hash")

    accepted, refused = [await client.post(NEW, json=FIELDS) for _ in range(2)]

    assert accepted.json()["status"] == "processing"
    assert refused.status_code == 429


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        (ValueError(), 500, "Internal server error. Please try again."),
        (RedisConnectionError(), 503, "Service temporarily unavailable. Please try again later."),
    ],
)
async def test_a_fault_of_ours_is_told_as_documented(client, app, fault, status, text):
    app.state.door = replace(app.state.door, submissions=Faulty(fault))

    answer = await client.post(NEW, json=FIELDS)

    assert (answer.status_code, answer.json()["message"]) == (status, text)
