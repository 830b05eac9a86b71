from dataclasses import replace

import httpx
import pytest

from api.app import create_app
from api.openapi import document as openapi
from shared.object_store import ObjectStore
from tests.api.conftest import KEY, PNG
from tests.servers import free_port

pytestmark = pytest.mark.anyio

PREFIX = "0f8fad5b-d9cb-469f-a165-70867728950e"


async def test_system_load_counts_what_waits(client, request_body):
    idle = (await client.post("/api/v3/system_load", json={"key": KEY})).json()
    await client.post("/api/v3/img2img", json=request_body)
    busy = (await client.post("/api/v3/system_load", json={"key": KEY})).json()

    assert idle == {"queue_num": 0, "queue_time": 0, "status": "ok"}
    assert (busy["queue_num"], busy["status"]) == (1, "ok")
    assert busy["queue_time"] >= 1


async def test_who_asks_for_the_load_is_told_of_what_runs_too(client, attempts, request_body):
    job = (await client.post("/api/v3/img2img", json=request_body)).json()
    attempts.claim(str(job["id"]), "1", "worker:1")

    load = (await client.post("/api/v3/system_load", json={"key": KEY})).json()

    assert load["queue_num"] == 0
    assert load["queue_time"] >= 1


async def test_a_finished_image_is_served(client, app):
    app.state.door.store.put(f"generations/{PREFIX}-0.png", PNG, "image/png")

    answer = await client.get(f"/generations/{PREFIX}-0.png")
    head = await client.head(f"/generations/{PREFIX}-0.png")

    assert (head.status_code, head.headers["content-type"]) == (200, "image/png")
    assert (answer.status_code, answer.content) == (200, PNG)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name", [f"{PREFIX}-9.png", "../inputs/secret", "..%2finputs%2fsecret", f"{PREFIX}-0.exe", "x"]
)
async def test_nothing_else_is_served(client, name):
    answer = await client.get(f"/generations/{name}")

    assert answer.status_code == 404
    assert answer.json()["status"] == "error"


async def test_the_schema_is_written_once_for_all_who_ask(client, app, monkeypatch):
    written = []
    write = openapi.to_json
    monkeypatch.setattr(openapi, "to_json", lambda schema: written.append(1) or write(schema))

    first, second = [await client.get("/openapi.json") for _ in range(2)]

    assert (first.headers["content-type"], first.content) == ("application/json", second.content)
    assert first.json() == app.openapi()
    assert len(written) == 1


async def test_it_is_alive_and_ready(client):
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {
        "status": "ok",
        "redis": True,
        "object_store": True,
    }


async def test_without_redis_it_is_not_ready_and_refuses_jobs(
    settings, request_body, free_port_url
):
    app = create_app(settings.model_copy(update={"redis_url": free_port_url}))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
            ready = await client.get("/readyz")
            answer = await client.post("/api/v3/img2img", json=request_body)

    assert (ready.status_code, ready.json()["redis"]) == (503, False)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["message"].startswith("Service temporarily unavailable")


async def test_without_the_object_store_inline_images_are_refused(
    app, client, request_body, settings
):
    elsewhere = settings.model_copy(update={"s3_endpoint": f"http://127.0.0.1:{free_port()}"})
    app.state.door = replace(app.state.door, store=ObjectStore.connect(elsewhere))

    answer = await client.post("/api/v3/img2img", json=request_body)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_a_redis_that_takes_no_writes_refuses_jobs(client, request_body, redis):
    redis.config_set("maxmemory", 1)
    try:
        answer = await client.post("/api/v3/img2img", json=request_body)
    finally:
        redis.config_set("maxmemory", 0)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert redis.keys("job:*") == []


async def test_the_docs_need_no_other_server(client):
    page = (await client.get("/docs")).text
    schema = (await client.get("/openapi.json")).json()

    assert "cdn" not in page
    assert "/api/v3/img2img" in schema["paths"]
    script = page.split('src="')[1].split('"')[0]
    assert (await client.get(script)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/api/v3/img2img", 405), ("POST", "/nowhere", 404)]
)
async def test_every_refusal_has_the_same_shape(client, method, path, status):
    answer = await client.request(method, path)

    assert answer.status_code == status
    assert answer.json()["status"] == "error"


@pytest.mark.parametrize("path", ["/api/v3/img2img", "/v1/img2img"])
async def test_a_refused_method_comes_with_the_allowed_one(client, path):
    assert (await client.put(path)).headers["allow"] == "POST"


async def test_a_form_in_no_encoding_is_unreadable(client):
    form = '--X\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na cat\r\n--X--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=X; charset=undefined"}

    answer = await client.post("/api/v3/img2img", content=form, headers=kind)

    assert (answer.status_code, answer.json()["message"]) == (400, "Invalid API Request")


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
async def test_a_body_over_the_limit_is_refused_while_it_comes(client, settings, announced, kind):
    async def endless():
        for _ in range(settings.max_body // 2**20 + 2):
            yield b"x" * 2**20

    content = b"x" * (settings.max_body + 1) if announced else endless()
    answer = await client.post("/api/v3/img2img", content=content, headers={"Content-Type": kind})

    assert answer.status_code == 413
    assert answer.json()["message"] == "The request must be at most 33 MiB"


async def test_a_default_model_that_is_not_listed_stops_the_door_from_opening(settings):
    app = create_app(settings.model_copy(update={"default_model": "nope"}))

    with pytest.raises(ValueError, match="nope"):
        async with app.router.lifespan_context(app):
            pass


async def test_submissions_are_counted_by_outcome(client, request_body):
    async def accepted() -> float:
        lines = (await client.get("/metrics")).text.splitlines()
        name = 'img2img_submissions_total{outcome="accepted"} '
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    before = await accepted()
    await client.post("/api/v3/img2img", json=request_body)

    assert await accepted() == before + 1
