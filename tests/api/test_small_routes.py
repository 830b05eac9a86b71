"""Uploads, lists, counts, and what this server does not have."""

import base64

import pytest

from api.dialects import ENTERPRISE
from api.routes.absent import ABSENT
from shared.schedulers import SCHEDULERS
from tests.api.conftest import KEY, OTHER_KEY, PNG
from worker.gpu.inputs import fetch_with

pytestmark = pytest.mark.anyio

IMAGE = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/v3/base64_crop", "image"),
        ("/api/v6/base64_to_url", "base64_string"),
        ("/api/v6/image_editing/base64_to_url", "init_image"),
        ("/api/v1/enterprise/upload_image", "base64_image"),
    ],
)
async def test_an_upload_gives_a_link_to_the_same_bytes(client, path, field):
    image = f"data:image/png;base64,{IMAGE}"

    body = (await client.post(path, json={"key": KEY, field: image, "crop": "true"})).json()
    answer = await client.get(body["link"].removeprefix("https://img.example.com"))

    assert (body["status"], body["output"]) == ("success", [body["link"]])
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")


async def test_a_link_of_ours_is_an_image_to_start_from(client, request_body, attempts, redis, app):
    upload = {"key": KEY, "image": IMAGE}
    link = (await client.post("/api/v3/base64_crop", json=upload)).json()["link"]

    answer = await client.post("/api/v3/img2img", json=request_body | {"init_image": link})

    job = attempts.claim(str(answer.json()["id"]), "1", "worker:1").job
    fetch = fetch_with(app.state.door.store, app.state.door.guard)
    assert fetch(job.params.init_image, "init_image") == PNG
    assert answer.json()["meta"]["init_image"] == link


@pytest.mark.parametrize("rest", ["X-Amz-Signature=secret", "A" * 1_000_000, "\x00\n"])
async def test_nothing_behind_a_link_of_ours_is_kept(client, request_body, rest):
    link = f"https://img.example.com/uploads/{'0' * 32}.png"
    asked = request_body | {"init_image": f"{link}?{rest}"}

    answer = await client.post("/api/v3/img2img", json=asked)

    assert answer.json()["meta"]["init_image"] == link


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (None, "field is required"),
        (7, "must be a string"),
        ("aGVsbG8=", "must be a PNG, JPEG or WebP image"),
        ("A" * 7_000_000, "must be at most 5 MiB"),
    ],
)
async def test_what_is_no_image_is_not_stored(client, image, reason):
    answer = await client.post("/api/v3/base64_crop", json={"key": KEY, "image": image})

    assert answer.status_code == 400
    assert answer.json()["message"] == {"image": [f"The image {reason}."]}


@pytest.mark.parametrize("name", ["0" * 32 + ".png", "../inputs/a", "x", "0" * 32 + ".exe"])
async def test_only_uploads_are_served_as_such(client, name):
    assert (await client.get(f"/uploads/{name}")).status_code == 404


@pytest.mark.parametrize("version", ["v3", "v4"])
async def test_the_model_list_is_a_bare_list(client, version):
    path = f"/api/{version}/dreambooth/model_list"

    assert [m["model_id"] for m in (await client.post(path, json={"key": KEY})).json()] == ["demo"]


@pytest.mark.parametrize("prefix", ENTERPRISE)
async def test_an_operator_sees_models_schedulers_and_queues(client, request_body, prefix):
    await client.post("/api/v3/img2img", json=request_body)

    async def ask(name: str, **fields) -> dict:
        return (await client.post(f"{prefix}/{name}", json={"key": KEY} | fields)).json()

    assert [m["model_id"] for m in (await ask("get_all_models"))["models"]] == ["demo"]
    assert (await ask("verify_model", model_id="demo"))["status"] == "success"
    assert (await ask("verify_model", model_id="no"))["message"] == "Model not found: no"
    assert (await ask("verify_model"))["message"] == "model_id is required"
    assert (await ask("schedulers_list"))["schedulers"] == list(SCHEDULERS)
    assert (await ask("system_details"))["pools"]["default"]["queue_num"] == 1


async def test_each_caller_counts_its_own_jobs(client, request_body):
    await client.post("/api/v3/img2img", json=request_body)

    counts = [
        (await client.post("/api/v6/processing/request_count", json={"key": key})).json()
        for key in (KEY, OTHER_KEY)
    ]

    assert [count["processing_count"] for count in counts] == [1, 0]
    assert {count["status"] for count in counts} == {"success"}


@pytest.mark.parametrize("path", ABSENT)
async def test_what_is_not_here_says_so_by_name(client, path):
    answer = await client.post(path, json={"key": KEY, "init_image": IMAGE})

    body = answer.json()
    assert (answer.status_code, body["status"]) == (501, "error")
    assert body["message"].startswith(f"{path.rpartition('/')[2]} is not available on this server")


@pytest.mark.parametrize("path", [next(iter(ABSENT)), "/api/v3/base64_crop"])
async def test_nobody_learns_anything_without_a_key(client, path):
    assert (await client.post(path, json={})).status_code == 401


async def test_a_future_link_is_an_image_to_start_from_whichever_attempt_made_it(
    client, request_body, attempts, app
):
    first = (await client.post("/api/v3/img2img", json=request_body)).json()
    job = attempts.claim(str(first["id"]), "1", "worker:1").job
    key = f"generations/{job.attempt_prefix(2)}-0.png"
    app.state.door.store.put(key, PNG, "image/png")
    fetch = fetch_with(app.state.door.store, app.state.door.guard, attempts=3)

    assert fetch(first["future_links"][0], "init_image") == PNG
