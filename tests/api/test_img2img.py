import asyncio
import functools
import gc
import json
import math
import warnings
from dataclasses import replace

import httpx
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from api.app import create_app
from api.config import ApiSettings
from api.routes.images import asked_wait
from shared.jobs import Failure, Result
from tests.api.conftest import KEY, OTHER_KEY, PNG

pytestmark = pytest.mark.anyio

URL = "/api/v3/img2img"


async def test_the_documented_request_answers_processing(client, request_body):
    answer = await client.post(URL, json=request_body)

    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {
        "status", "tip", "eta", "message", "messege", "fetch_result", "id", "request_id", "output",
        "future_links", "webhook_status", "meta",
    }  # fmt: skip
    assert (body["status"], body["output"]) == ("processing", [])
    assert body["fetch_result"] == f"https://img.example.com/api/v3/fetch/{body['id']}"
    assert body["eta"] >= 1
    assert body["message"] == body["messege"]


async def test_meta_shows_what_is_really_used(client, request_body):
    meta = (await client.post(URL, json=request_body | {"seed": 7, "samples": "2"})).json()["meta"]

    assert (meta["W"], meta["H"], meta["steps"], meta["n_samples"]) == (512, 512, 30, 2)
    assert (meta["seed"], meta["seeds"]) == (7, [7, 8])
    assert (meta["guidance_scale"], meta["strength"]) == (7.5, 0.7)
    assert meta["prompt"].startswith("a cat sitting on a bench, ")
    assert (meta["model"], meta["outdir"], meta["negative_prompt"]) == ("demo", "out", "")
    assert len(meta["file_prefix"]) == 36


async def test_the_prompt_is_left_alone_when_asked(client, request_body):
    body = (await client.post(URL, json=request_body | {"enhance_prompt": "no"})).json()

    assert body["meta"]["prompt"] == "a cat sitting on a bench"


async def test_a_waiting_caller_gets_the_result_itself(client, request_body, attempts, redis):
    asking = asyncio.create_task(client.post(URL, json=request_body, headers={"Prefer": "wait=30"}))
    job = await _finish(attempts, redis)
    answer = await asking

    body = answer.json()
    assert set(body) == {
        "status", "generationTime", "id", "request_id", "output", "proxy_links",
        "nsfw_content_detected", "webhook_status", "meta",
    }  # fmt: skip
    assert (body["status"], body["id"], body["generationTime"]) == ("success", job.id, 1.25)
    assert body["output"] == [f"https://img.example.com/generations/{job.file_prefix}-0.png"]
    assert body["meta"]["file_prefix"] == job.file_prefix


async def test_a_failed_job_says_why(client, request_body, attempts, redis):
    asking = asyncio.create_task(client.post(URL, json=request_body, headers={"Prefer": "wait=30"}))
    attempt = await _claimed(attempts, redis)
    attempts.fail(attempt, Failure(code="bad_input", message="Unable to fetch image"))

    body = (await asking).json()

    assert (body["status"], body["message"], body["output"]) == (
        "failed", "Unable to fetch image", [],
    )  # fmt: skip
    assert body["id"] == attempt.job.id


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("respond-async", 0),
        ("wait=7", 7),
        ("respond-async, wait=7", 7),
        ("wait=7; respond-async", 7),
        ("wait=99999999999999999999", 999999999),
        ("wait=x", None),
        ("return=minimal", None),
        (None, None),
    ],
)
async def test_prefer_says_how_long_to_wait(prefer, seconds):
    assert asked_wait(prefer) == seconds


@pytest.mark.parametrize(
    ("asked", "webhook", "seconds"),
    [(None, False, 20), (None, True, 0), (5, True, 5), (0, False, 0), (600, False, 55)],
)
async def test_who_waits_how_long(app, asked, webhook, seconds):
    defaults = ApiSettings(api_keys="alice=key-of-alice")
    door = replace(app.state.door, settings=defaults)

    assert door.patience(asked, webhook=webhook) == seconds


async def test_a_repeat_of_a_running_request_waits_for_the_same_result(
    client, request_body, attempts, redis
):
    headers = {"Idempotency-Key": "abc", "Prefer": "wait=30"}
    asking = [
        asyncio.create_task(client.post(URL, json=request_body, headers=headers)) for _ in range(2)
    ]
    job = await _finish(attempts, redis)

    bodies = [(await task).json() for task in asking]

    assert [(body["status"], body["id"]) for body in bodies] == [("success", job.id)] * 2


@pytest.mark.parametrize("where", ["form", "query", "multipart"])
async def test_fields_come_in_every_encoding(client, request_body, where):
    fields = {name: str(v) for name, v in request_body.items() if v is not None}
    if where == "form":
        answer = await client.post(URL, data=fields)
    elif where == "multipart":
        answer = await client.post(URL, files={name: (None, v) for name, v in fields.items()})
    else:
        answer = await client.post(URL, params=fields)

    assert answer.json()["meta"]["W"] == 512


async def test_a_file_in_a_form_is_closed(client, request_body):
    fields = {name: (None, str(v)) for name, v in request_body.items() if v is not None}

    with warnings.catch_warnings(record=True, action="always") as seen:
        answer = await client.post(URL, files=fields | {"file": ("a.png", PNG)})
        gc.collect()

    assert answer.json()["meta"]["W"] == 512
    assert not [each for each in seen if each.category is ResourceWarning]


async def test_json_that_curl_calls_a_form_is_json_still(client, request_body):
    answer = await client.post(
        URL,
        content=json.dumps(request_body),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )

    assert answer.json()["meta"]["W"] == 512


async def test_a_null_in_the_body_hides_nothing_in_the_query_string(client, request_body):
    answer = await client.post(URL, params={"key": KEY}, json=request_body | {"key": None})

    assert answer.json()["status"] == "processing"


@pytest.mark.parametrize(
    "headers",
    [{"key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}],
)
async def test_the_key_may_come_in_a_header(client, request_body, headers):
    del request_body["key"]

    answer = await client.post(URL, json=request_body, headers=headers)

    assert answer.json()["status"] == "processing"


@pytest.mark.parametrize("key", [None, "", "wrong", "\ud800", 5, ["list"], {"a": 1}])
async def test_a_wrong_key_is_refused(client, request_body, key):
    answer = await client.post(URL, content=json.dumps(request_body | {"key": key}))

    assert answer.status_code == 401
    assert answer.json()["message"] == "Invalid Api Key"
    assert answer.json()["tip"].startswith("1. Make sure")


async def test_a_missing_prompt_is_named_as_documented(client, request_body):
    answer = await client.post(URL, json=request_body | {"prompt": ""})

    assert answer.status_code == 400
    expected = {"prompt": ["The prompt field is required."]}
    assert answer.json() == {"status": "error", "message": expected, "messege": expected}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("strength", 2),
        ("strength", "-0.1"),
        ("strength", math.inf),
        ("strength", "abc"),
        ("num_inference_steps", 0),
        ("num_inference_steps", 10**40),
        ("guidance_scale", 0.5),
        ("guidance_scale", "NaN"),
        ("samples", 0),
        ("samples", "many"),
        ("width", 63),
        ("width", 5000),
        ("height", -1),
        ("seed", 2**32),
        ("seed", "abc"),
        ("track_id", "x" * 5000),
        ("track_id", "\ud800"),
        ("track_id", {"\ud800": 1}),
        ("track_id", math.nan),
        ("track_id", functools.reduce(lambda inner, _: [inner], range(200), 1)),
        ("prompt", "x" * 2001),
        ("prompt", "nul \x00 inside"),
        ("prompt", ["a", "list"]),
        ("prompt", "\ud800"),
        ("init_image", "not an image"),
        ("init_image", "ftp://example.com/a.png"),
        ("init_image", "file:///etc/passwd"),
        ("init_image", "http://169.254.169.254/latest"),
        ("init_image", "http://user:pass@example.com/a.png"),
        ("init_image", "aGVsbG8gd29ybGQ="),
        ("init_image", "data:image/png;base64,!!!"),
        ("mask_image", "data:image/png;base64,aGVsbG8="),
        ("webhook", "http://127.0.0.1/hook"),
        ("webhook", "gopher://example.com"),
        ("webhook", "no address"),
        ("scheduler", "NoSuchScheduler"),
        ("use_karras_sigmas", "perhaps"),
        ("algorithm_type", "euler"),
        ("clip_skip", 0),
        ("clip_skip", 9),
        ("enhance_prompt", "perhaps"),
    ],
)
async def test_wrong_fields_are_named(client, request_body, field, value):
    # Not `json=`: some of these are nothing that a careful client could send.
    answer = await client.post(
        URL,
        content=json.dumps(request_body | {field: value}),
        headers={"content-type": "application/json"},
    )

    body = answer.json()
    assert answer.status_code == 400
    assert (body["status"], list(body["message"])) == ("error", [field])
    assert "codec" not in answer.text
    assert "alue error" not in answer.text
    assert KEY not in answer.text


@pytest.mark.parametrize("samples", [99, "99", "9.0", 10**30])
async def test_v3_takes_too_many_samples_as_four(client, request_body, samples):
    body = (await client.post(URL, json=request_body | {"samples": samples})).json()

    assert body["meta"]["n_samples"] == 4


async def test_sides_are_rounded_down_to_what_the_model_takes(client, request_body):
    body = (await client.post(URL, json=request_body | {"width": "517", "height": 333})).json()

    assert (body["meta"]["W"], body["meta"]["H"]) == (512, 328)


@pytest.mark.parametrize(
    ("name", "meta", "value"),
    [
        ("prompt_strength", "strength", 0.4),
        ("steps", "steps", 12),
        ("guidance", "guidance_scale", 3),
    ],
)
async def test_older_names_of_fields_are_taken(client, request_body, name, meta, value):
    for current in ("strength", "num_inference_steps", "guidance_scale"):
        del request_body[current]

    body = (await client.post(URL, json=request_body | {name: str(value)})).json()

    assert body["meta"][meta] == value


@pytest.mark.parametrize("absent", [None, "", "null"])
async def test_absent_has_three_spellings(client, request_body, absent):
    unset = {"webhook": absent, "seed": absent, "mask_image": absent, "width": absent}

    body = (await client.post(URL, json=request_body | unset)).json()

    assert body["status"] == "processing"
    assert body["meta"]["W"] is None


@pytest.mark.parametrize("seed", [-1, -1.0, "-1", None])
async def test_without_a_seed_there_is_a_random_one(client, request_body, seed):
    seeds = {
        (await client.post(URL, json=request_body | {"seed": seed})).json()["meta"]["seed"]
        for _ in range(3)
    }

    assert len(seeds) == 3


@pytest.mark.parametrize("content", [b"{broken", b"[1, 2]", b'"text"', b"\xff\xfe", b"[" * 5000])
async def test_a_body_that_is_no_json_object_is_refused(client, content):
    answer = await client.post(URL, content=content, headers={"content-type": "application/json"})

    assert answer.status_code == 400
    assert answer.json()["message"] == "Invalid API Request"


async def test_unknown_fields_are_ignored(client, request_body):
    extra = {"controlnet_model": None, "guess_mode": "x", "tomesd": ["a"], "panorama": "no"}

    assert (await client.post(URL, json=request_body | extra)).status_code == 200


async def test_an_inline_image_goes_to_the_store_and_not_into_redis(
    client, request_body, app, redis
):
    await client.post(URL, json=request_body)

    (record,) = [redis.hgetall(key) for key in redis.keys("job:*")]
    assert request_body["init_image"] not in str(record)
    key = record["job"].split('"init_image":"')[1].split('"')[0]
    assert app.state.door.store.get(key).body == PNG


async def test_the_same_idempotency_key_gives_the_same_job(client, request_body):
    headers = {"Idempotency-Key": "abc"}
    first, second = [
        (await client.post(URL, json=request_body, headers=headers)).json() for _ in range(2)
    ]
    other = await client.post(URL, json=request_body | {"prompt": "a dog"}, headers=headers)

    assert first["id"] == second["id"]
    assert other.status_code == 409


async def away(*_, **__):
    raise RedisConnectionError


async def test_a_job_that_was_accepted_is_never_answered_with_an_error(
    client, request_body, app, monkeypatch
):
    monkeypatch.setattr(app.state.door.submissions, "find", away)

    body = (await client.post(URL, json=request_body)).json()

    assert (body["status"], body["meta"]["W"]) == ("processing", 512)
    assert body["eta"] >= 1


async def test_a_repeat_is_never_answered_with_another_jobs_links(
    client, request_body, app, monkeypatch
):
    headers = {"Idempotency-Key": "abc"}
    await client.post(URL, json=request_body, headers=headers)
    monkeypatch.setattr(app.state.door.submissions, "find", away)

    answer = await client.post(URL, json=request_body, headers=headers)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_an_estimate_that_cannot_be_remembered_changes_no_answer(
    client, request_body, app, monkeypatch
):
    headers = {"Idempotency-Key": "abc"}
    first = await client.post(URL, json=request_body, headers=headers)
    submissions = app.state.door.submissions
    monkeypatch.setattr(submissions, "_expect", away)

    second = await client.post(URL, json=request_body, headers=headers)
    await submissions.close()  # now it was tried

    assert second.json() == first.json()


async def test_a_request_that_starts_no_job_leaves_no_upload(client, request_body, app):
    store, uploaded = app.state.door.store, []
    app.state.door = replace(app.state.door, store=Uploads(store, uploaded))
    headers = {"Idempotency-Key": "abc"}

    for body in (request_body, request_body, request_body | {"prompt": "a dog"}):
        await client.post(URL, json=body, headers=headers)

    accepted, repeated, conflicting = uploaded
    assert store.get(accepted).body == PNG
    for key in (repeated, conflicting):
        with pytest.raises(FileNotFoundError):
            store.get(key)


class Uploads:
    """The real store, and the keys that were put into it."""

    def __init__(self, store, keys):
        self._store, self._keys = store, keys

    def put(self, key, *rest, **more):
        self._keys.append(key)
        self._store.put(key, *rest, **more)

    def __getattr__(self, name):
        return getattr(self._store, name)


async def test_fetch_answers_as_the_job_stands(client, request_body, attempts, redis):
    job_id = (await client.post(URL, json=request_body)).json()["id"]
    fetch = f"/api/v3/fetch/{job_id}"

    before = (await client.post(fetch, json={"key": KEY})).json()
    await _finish(attempts, redis)
    after = (await client.post(fetch, json={"key": KEY})).json()

    assert (before["status"], after["status"]) == ("processing", "success")
    assert before["fetch_result"].endswith(fetch)
    assert len(after["output"]) == 1


async def test_another_tenants_id_answers_as_an_unknown_one(client, request_body):
    job_id = (await client.post(URL, json=request_body)).json()["id"]

    foreign = await client.post(f"/api/v3/fetch/{job_id}", json={"key": OTHER_KEY})
    unknown = await client.post("/api/v3/fetch/123", json={"key": OTHER_KEY})

    assert foreign.status_code == unknown.status_code == 200
    assert foreign.json() | {"id": 0} == unknown.json() | {"id": 0}
    assert (unknown.json()["status"], unknown.json()["message"]) == ("failed", "Request not found")


@pytest.mark.parametrize("job_id", ["abc", "-1", "9" * 40, "1.5", "%00", "²"])
async def test_an_id_that_is_none_is_unknown(client, job_id):
    answer = await client.post(f"/api/v3/fetch/{job_id}", json={"key": KEY})

    assert answer.json()["message"] == "Request not found"


async def test_errors_under_200_for_old_clients(settings, request_body):
    app = create_app(settings.model_copy(update={"errors_as_200": True}))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            answer = await client.post(URL, json=request_body | {"key": "wrong"})

    assert (answer.status_code, answer.json()["status"]) == (200, "error")


async def _claimed(attempts, redis):
    """What a worker does with the next message."""
    while not (ids := redis.zrange("published:default", 0, 0)):
        await asyncio.sleep(0)
    return attempts.claim(ids[0], "1", "worker:1")


async def _finish(attempts, redis):
    attempt = await _claimed(attempts, redis)
    job = attempt.job
    attempts.succeed(
        attempt,
        Result(
            keys=(f"generations/{job.file_prefix}-0.png",),
            file_prefix=job.file_prefix,
            width=512,
            height=512,
            scheduler="DDIMScheduler",
            seconds=1.25,
        ),
    )
    return job
