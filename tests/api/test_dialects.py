"""What differs between the versions of the public API."""

import base64

import httpx
import pytest

from api.app import create_app
from api.dialects import DIALECTS, V3, dialect_of
from shared.jobs import Result
from shared.tenants import Entry, Tenants
from tests.api.conftest import KEY, PNG

pytestmark = pytest.mark.anyio

V6 = "/api/v6/images"
IMAGE = base64.b64encode(PNG).decode()
PATHS = [(f"{d.prefix}{path}", kind) for d in DIALECTS.values() for path, kind in d.kinds.items()]


@pytest.fixture
def fields() -> dict:
    """What every version takes."""
    return {
        "key": KEY,
        "model_id": "demo",
        "prompt": "a cat",
        "init_image": IMAGE,
        "mask_image": IMAGE,
        "width": 512,
        "height": 512,
    }


async def job_of(client, path, fields, attempts, redis):
    """The job that a request becomes, as a worker sees it."""
    answer = await client.post(path, json=fields)
    assert answer.json()["status"] == "processing", answer.text
    (job_id,) = redis.zrange("published:default", 0, 0)
    return attempts.claim(job_id, "1", "worker:1")


@pytest.mark.parametrize(("path", "kind"), PATHS)
async def test_every_path_makes_its_kind_of_image(client, fields, attempts, redis, path, kind):
    if kind == "img2img":
        del fields["mask_image"]

    params = (await job_of(client, path, fields, attempts, redis)).job.params

    assert (params.init_image is not None, params.mask_image is not None) == {
        "text2img": (False, False), "img2img": (True, False), "inpaint": (True, True),
    }[kind]  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=lambda dialect: dialect.name)
async def test_a_result_is_fetched_where_the_answer_says(client, fields, dialect):
    made = dialect if dialect.kinds else V3
    path = next(path for path, kind in made.kinds.items() if kind in ("img2img", "inpaint"))
    first = (await client.post(f"{made.prefix}{path}", json=fields)).json()
    by_path = dialect.fetch_path.format(id=first["id"])
    ask = {"key": KEY, "request_id": str(first["id"])}

    answers = [
        await client.post(by_path, json=ask),
        await client.get(by_path, headers={"key": KEY}),
        await client.post(dialect.fetch_path.removesuffix("/{id}"), json=ask),
        await client.get(dialect.fetch_path.removesuffix("/{id}"), params=ask),
    ]

    assert first["fetch_result"] == f"https://img.example.com{made.fetch_path}".format(**first)
    assert [answer.json()["id"] for answer in answers] == [first["id"]] * 4


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("/api/v3/img2img", ["prompt", "init_image"]),
        ("/api/v3/inpaint", ["prompt", "init_image", "mask_image"]),
        ("/api/v3/text2img", ["prompt"]),
        ("/api/v4/dreambooth/img2img", ["model_id", "prompt", "init_image"]),
        ("/api/v6/images/img2img", ["model_id", "init_image"]),
        ("/api/v6/images/text2img", ["model_id", "prompt"]),
        ("/api/v6/realtime/img2img", ["prompt", "init_image"]),
        ("/api/v7/images/image-to-image", ["model_id", "prompt", "init_image"]),
    ],
)
async def test_what_is_missing_is_said_as_the_version_says_it(client, path, missing):
    message = (await client.post(path, json={"key": KEY})).json()["message"]

    if dialect_of(path).is_modern:
        assert message == "; ".join(f"{name} is required" for name in missing)
    else:
        texts = {name: [f"The {name.replace('_', ' ')} field is required."] for name in missing}
        assert message == texts


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 5}, "samples must be between 1 and 4, got 5"),
        ({"height": 500}, "height must be divisible by 8, got 500"),
        ({"width": 4096}, "width must be between 64 and 1024, got 4096"),
        ({"prompt": ["x"]}, "prompt must be a string"),
        ({"strength": "high"}, "strength must be a number, got 'high'"),
        ({"model_id": "nope"}, "Model not found: nope"),
        ({"init_image": [IMAGE, IMAGE]}, "init_image must be one image, got 2"),
        ({"init_image": [None]}, "init_image must be one image, got 0"),
        ({"init_image": [""]}, "init_image must be one image, got 0"),
    ],
)
async def test_newer_versions_keep_to_their_limits(client, fields, changes, message):
    answer = await client.post(f"{V6}/img2img", json=fields | changes)

    assert (answer.status_code, answer.json()["message"]) == (400, message)


async def test_older_versions_take_what_there_is(client, fields):
    answer = await client.post(
        "/api/v4/dreambooth/img2img", json=fields | {"samples": 9, "height": 500}
    )

    meta = answer.json()["meta"]
    assert (meta["n_samples"], meta["H"]) == (4, 496)


async def test_an_unknown_model_has_the_words_of_its_version(client, fields):
    answer = await client.post("/api/v4/dreambooth/img2img", json=fields | {"model_id": "nope"})

    assert (answer.status_code, answer.json()["message"]) == (400, "Model id not found")


async def test_v3_runs_its_own_model_whatever_is_named(client, fields):
    answer = await client.post("/api/v3/img2img", json=fields | {"model_id": "midjourney"})

    assert answer.json()["meta"]["model_id"] == "demo"


async def test_v7_sends_its_image_in_a_list(client, fields, attempts, redis):
    fields |= {"init_image": ["https://example.com/cat.png"], "mask_image": None}

    attempt = await job_of(client, "/api/v7/images/image-to-image", fields, attempts, redis)

    assert attempt.job.params.init_image == "https://example.com/cat.png"


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/v3/fetch", 200), ("/api/v5/images/fetch", 200), (f"{V6}/fetch", 404)],
)
async def test_an_unknown_id_is_missing_in_newer_versions_only(client, path, status):
    answer = await client.post(path, json={"key": KEY, "request_id": 123})

    assert answer.status_code == status
    assert (answer.json()["status"], answer.json()["message"]) == ("failed", "Request not found")


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [(None, "Invalid Api Key", "API key required"), ("x", "Invalid Api Key", "Invalid API key")],
)
async def test_a_wrong_key_has_the_words_of_its_version(client, fields, key, old, new):
    bodies = [
        (await client.post(path, json=fields | {"key": key})).json()["message"]
        for path in ("/api/v3/img2img", f"{V6}/img2img")
    ]

    assert bodies == [old, new]


@pytest.mark.parametrize("attempt", [1, 2])
async def test_a_future_link_answers_once_the_image_is_there(
    client, fields, attempts, redis, app, attempt
):
    first = (await client.post("/api/v3/img2img", json=fields)).json()
    (link,) = first["future_links"]
    path = link.removeprefix("https://img.example.com")
    early = await client.get(path)
    job = attempts.claim(str(first["id"]), "1", "worker:1").job
    app.state.door.store.put(f"generations/{job.attempt_prefix(attempt)}-0.png", PNG, "image/png")

    late = await client.get(path)

    assert (early.status_code, early.json()["status"]) == (404, "error")
    assert (late.status_code, late.content) == (200, PNG)


async def test_a_success_has_what_clients_of_any_version_read(client, fields, attempts, redis):
    attempt = await job_of(client, f"{V6}/img2img", fields, attempts, redis)
    job = attempt.job
    result = Result(
        keys=(f"generations/{job.file_prefix}-0.png",),
        file_prefix=job.file_prefix,
        width=512,
        height=512,
        scheduler="DDIMScheduler",
        seconds=1.25,
    )
    attempts.succeed(attempt, result)

    body = (await client.post(f"{V6}/fetch/{job.id}", json={"key": KEY})).json()

    assert body["output"] == body["proxy_links"]
    assert (body["id"], body["request_id"]) == (job.id, str(job.id))
    assert body["webhook_status"] == ""


async def test_a_key_may_have_its_errors_under_200(client, fields, app):
    tenants = [Entry(tenant="old", key="secret-of-old", errors_as_200=True)]
    app.state.tenants = Tenants(tenants)
    fields["key"] = "secret-of-old"

    wrong = await client.post(f"{V6}/img2img", json=fields | {"samples": 0})
    unknown = await client.post(f"{V6}/fetch/123", json=fields)

    assert (wrong.status_code, wrong.json()["status"]) == (200, "error")
    assert (unknown.status_code, unknown.json()["status"]) == (200, "failed")


@pytest.mark.parametrize(("origins", "allowed"), [("https://a.example", True), ("", False)])
async def test_pages_of_other_origins_call_where_they_may(settings, origins, allowed):
    app = create_app(settings.model_copy(update={"cors_origins": origins}))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://d") as client:
        answer = await client.options(
            "/api/v3/img2img",
            headers={"Origin": "https://a.example", "Access-Control-Request-Method": "POST"},
        )

    assert (answer.headers.get("access-control-allow-origin") == "https://a.example") is allowed


@pytest.mark.parametrize(
    ("long_header", "status"), [("", 500), ("a" * 70_000, 431)], ids=["a fault", "a long head"]
)
async def test_pages_of_other_origins_may_read_how_they_are_refused(
    settings, fields, long_header, status
):
    app = create_app(settings.model_copy(update={"cors_origins": "https://a.example"}))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Origin": "https://a.example", "x-long": long_header}
    # Its lifespan was never run, so there is nothing behind this door.
    async with httpx.AsyncClient(transport=transport, base_url="http://d") as client:
        answer = await client.post("/api/v3/img2img", json=fields, headers=headers)

    assert answer.status_code == status
    assert answer.json()["status"] == "error"
    assert answer.headers["access-control-allow-origin"] == "https://a.example"
    assert answer.headers["cache-control"] == "no-store"
