"""Requests for images: what is taken, what is refused, and how."""

import base64
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from api import errors
from api.errors import ApiError, InvalidFields
from api.v1 import ERRORS, deadline
from tests.api.conftest import KEY, PNG
from tests.jobs import RESULT

pytestmark = pytest.mark.anyio

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)


async def test_a_request_is_accepted_with_its_place_and_where_to_look(alice, body, worker):
    answer = await alice.post("/img2img", json=body | {"track_id": {"order": 7}})

    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == job["urls"]["self"]
    assert job["urls"]["self"] == f"https://img.example.com/v1/jobs/{job['id']}"
    assert (job["status"], job["track_id"], job["model_id"]) == ("queued", {"order": 7}, "demo")
    assert job["queue"] == {"position": 1, "reason": "its_turn_comes", "eta": 23.0}
    assert (job["images"], job["error"], job["warnings"]) == ([], None, [])
    assert job["parameters"]["prompt"] == "a cat"


@pytest.mark.parametrize(
    ("path", "image_fields"),
    [("/text2img", 0), ("/img2img", 1), ("/inpaint", 2)],
)
async def test_every_path_makes_its_kind(alice, body, claim, path, image_fields):
    body |= {"mask_image": body["init_image"]}
    if path == "/img2img":
        del body["mask_image"]

    params = claim((await alice.post(path, json=body)).json()).job.params

    assert [params.init_image, params.mask_image].count(None) == 2 - image_fields


async def test_a_caller_that_waits_gets_the_images(alice, body, app, claim, attempts, monkeypatch):
    submit = app.state.door.submissions.submit

    async def submit_to_a_quick_worker(submission):
        receipt = await submit(submission)
        attempts.succeed(claim({"id": receipt.job_id}), RESULT)
        return receipt

    monkeypatch.setattr(app.state.door.submissions, "submit", submit_to_a_quick_worker)

    answer = await alice.post("/img2img", json=body, headers={"Prefer": "wait=30"})

    job = answer.json()
    assert (answer.status_code, job["status"], job["queue"]) == (200, "succeeded", None)
    url = "https://img.example.com/generations/x-0.png"
    assert job["images"] == [{"url": url, "seed": 42, "unsafe": None}]
    assert job["seconds"] == 1.5


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("width", "512", "width must be a whole number, got '512'"),
        ("strength", "0.7", "strength must be a number, got '0.7'"),
        ("strength", 1.4, "strength must be between 0 and 1, got 1.4"),
        ("enhance_prompt", "yes", "enhance_prompt must be true or false, got 'yes'"),
        ("prompt", 7, "prompt must be a string, got 7"),
        ("samples", 5, "samples must be between 1 and 4, got 5"),
        ("init_image", None, "init_image is required"),
        ("init_image", "", "init_image must not be empty, got ''"),
        ("mask_image", "", "mask_image must not be empty, got ''"),
        ("init_image", "aGVsbG8=", "init_image must be a PNG, JPEG or WebP image"),
        ("webhook", "http://127.0.0.1/x", "webhook cannot be used: address not allowed"),
        ("dry_run", "yes", "dry_run must be true or false"),
    ],
)
async def test_what_cannot_be_used_is_refused_by_name(alice, body, field, value, message):
    answer = await alice.post("/img2img", json=body | {field: value})

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["code"], error["param"], error["message"]) == ("invalid_field", field, message)
    assert error["request_id"] == answer.headers["x-request-id"]
    meaning = await alice.get(error["docs_url"].removeprefix("https://img.example.com/v1"))
    assert meaning.json()["status"] == 400


@pytest.mark.parametrize("content", [b"{", b"[1]", b"prompt=a"])
async def test_only_json_objects_are_read(alice, content):
    answer = await alice.post("/img2img", content=content)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unreadable_body")


async def test_what_is_unknown_or_unused_is_ignored_and_said(alice, body):
    answer = await alice.post("/text2img", json=body | {"promt": "a dog", "x": 1, "key": KEY})

    assert answer.json()["warnings"] == [
        "init_image is not used by text2img",
        "'promt' is unknown and was ignored; did you mean prompt?",
        "'x' is unknown and was ignored",
        "'key' is unknown and was ignored",
    ]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nobody"}])
async def test_a_key_in_a_header_is_needed(app, body, headers):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        answer = await client.post("/v1/img2img", json=body | {"key": KEY}, headers=headers)

    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_key")


@pytest.mark.parametrize(
    ("path", "changes", "status", "code"),
    [
        ("/img2img", {"model_id": "no"}, 400, "unknown_model"),
        ("/nothing", {}, 404, "not_found"),
        ("/models", {}, 405, "method_not_allowed"),
    ],
)
async def test_other_refusals_have_their_codes(alice, body, path, changes, status, code):
    answer = await alice.post(path, json=body | changes)

    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_every_code_is_explained():
    refusals = [kind for kind in vars(errors).values() if _is_a_refusal(kind)]

    assert {(kind.code, kind.status) for kind in refusals} - {("not_here", 501)} <= {
        (code, status) for code, (status, _) in ERRORS.items()
    }


def _is_a_refusal(kind) -> bool:
    return isinstance(kind, type) and issubclass(kind, ApiError)


async def test_a_repeated_key_gets_the_first_job(alice, body):
    headers = {"Idempotency-Key": "k"}
    first, again, other = [
        await alice.post("/img2img", json=fields, headers=headers)
        for fields in (body, body, body | {"prompt": "a dog"})
    ]

    assert first.json()["id"] == again.json()["id"]
    assert (other.status_code, other.json()["error"]["code"]) == (409, "repeated_key")


async def test_a_key_that_comes_to_another_path_is_with_another_request(alice, client, body):
    headers = {"Idempotency-Key": "k"}
    everywhere = body | {"key": KEY, "model_id": "demo"}
    await alice.post("/img2img", json=everywhere, headers=headers)

    others = [
        await alice.post("/text2img", json=everywhere, headers=headers),
        await client.post("/api/v6/images/img2img", json=everywhere, headers=headers),
    ]

    assert [answer.status_code for answer in others] == [409, 409]


@pytest.fixture
def nothing_is_stored(app, monkeypatch):
    """Or the test fails."""
    monkeypatch.setattr(app.state.door.store, "put", pytest.fail)


@pytest.mark.parametrize("is_served", [False, True])
async def test_a_dry_run_says_the_cost_and_leaves_nothing(
    alice, body, redis, request, nothing_is_stored, is_served
):
    if is_served:
        request.getfixturevalue("worker")
    sizes = {"width": 512, "height": 512, "samples": 2, "strength": 0.5, "num_inference_steps": 20}

    answer = await alice.post("/img2img", json=body | sizes | {"dry_run": True})

    assert answer.json() == {
        "dry_run": True,
        "cost": {"megapixel_steps": 5.243},
        "pool": "default",
        "has_worker": is_served,
        "eta": 23.0 if is_served else None,
        "warnings": [],
    }
    assert redis.keys("job*") == []


async def test_a_dry_run_refuses_what_would_be_refused(alice, body):
    bad = base64.b64encode(PNG[4:]).decode()

    answer = await alice.post("/img2img", json=body | {"dry_run": True, "init_image": bad})

    assert answer.json()["error"]["param"] == "init_image"


async def test_a_deadline_comes_with_the_request(alice, body, redis):
    await alice.post("/img2img", json=body, headers={"Cancel-After": "60"})
    refused = await alice.post("/img2img", json=body, headers={"Cancel-After": "soon"})

    assert redis.zcard("deadlines") == 1
    assert refused.json()["error"]["param"] == "Cancel-After"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30), ("0.5", 0.5), ("2030-01-31T12:01:00Z", 60), ("2030-01-31T14:00:05+02:00", 5)],
)
def test_a_deadline_is_seconds_or_a_time(header, seconds):
    assert deadline(header, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "header",
    [
        *("soon", "0", "-1", "nan", "inf", "1e99", "604801"),
        *("2030-01-31T12:01:00", "2029-01-01T00:00:00Z"),
    ],
)
def test_other_deadlines_are_refused(header):
    with pytest.raises(InvalidFields, match="Cancel-After"):
        deadline(header, NOW)


async def test_a_strength_may_be_a_number(alice, body):
    answer = await alice.post("/img2img", json=body | {"lora_strength": 0.8})

    assert answer.status_code == 202
