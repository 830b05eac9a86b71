"""Models, uploads, webhooks and the documentation."""

from datetime import timedelta

import httpx
import pytest

from api.v1 import ERRORS
from shared.ledger.deliveries import DeliveryLog
from tests.api.conftest import PNG
from tests.jobs import FAILURE

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)


@pytest.mark.parametrize("is_served", [False, True])
async def test_the_models_say_whether_a_worker_serves_them(alice, request, is_served):
    if is_served:
        request.getfixturevalue("worker")

    (model,) = (await alice.get("/models")).json()["models"]

    assert (model["model_id"], model["is_default"], model["has_worker"]) == (
        "demo",
        True,
        is_served,
    )
    assert model["limits"]["max_steps"] == 51


async def test_an_upload_goes_to_the_bucket_and_is_an_image_to_start_from(
    alice, submit, claim, app
):
    room = (
        await alice.post("/uploads", json={"content_type": "image/png", "size": len(PNG)})
    ).json()

    async with httpx.AsyncClient() as http:
        put = await http.put(room["put"]["url"], content=PNG, headers=room["put"]["headers"])
    job = await submit(init_image=room["url"])

    assert put.status_code == 200, put.text
    assert claim(job).job.params.init_image == room["url"]
    key = app.state.door.store.own_key(room["url"])
    assert app.state.door.store.get(key).body == PNG


@pytest.mark.parametrize(("content", "kind"), [(PNG + b"more", "image/png"), (PNG, "text/html")])
async def test_only_what_was_announced_can_be_uploaded(alice, content, kind):
    room = (
        await alice.post("/uploads", json={"content_type": "image/png", "size": len(PNG)})
    ).json()

    async with httpx.AsyncClient() as http:
        put = await http.put(room["put"]["url"], content=content, headers={"Content-Type": kind})

    assert put.status_code == 403


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "content_type"),
        ({"content_type": "text/html", "size": 1}, "content_type"),
        ({"content_type": ["image/png"], "size": 1}, "content_type"),
        ({"content_type": "image/png"}, "size"),
        ({"content_type": "image/png", "size": True}, "size"),
        ({"content_type": "image/png", "size": 12 * 2**20 + 1}, "size"),
    ],
)
async def test_an_upload_that_would_be_no_image_gets_no_room(alice, fields, param):
    answer = await alice.post("/uploads", json=fields)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.fixture
async def delivered(submit, claim, attempts, app):
    """A job whose webhook was delivered at the second attempt."""
    job = await submit(webhook="https://example.com/hook")
    attempts.fail(claim(job), FAILURE)
    (delivery,) = await app.state.door.deliveries.claim(1, lease=DAY)
    log = DeliveryLog(at=1.0, seconds=0.5, status=500)
    await app.state.door.deliveries.retry(delivery, log, 0)
    (delivery,) = await app.state.door.deliveries.claim(1, lease=DAY)
    await app.state.door.deliveries.delivered(delivery, log.model_copy(update={"status": 204}))
    return job, delivery.message_id


async def test_the_owner_sees_every_attempt_to_deliver_a_webhook(alice, bob, delivered):
    job, _ = delivered

    log = (await alice.get("/webhooks", params={"job": job["id"]})).json()

    assert (log["url"], log["status"]) == ("https://example.com/hook", "delivered")
    assert [attempt["status"] for attempt in log["attempts"]] == [500, 204]
    assert (await bob.get("/webhooks", params={"job": job["id"]})).status_code == 404


async def test_a_webhook_is_delivered_once_more_under_the_same_id(alice, bob, delivered, app):
    job, message_id = delivered
    refused = await bob.post(f"/webhooks/{job['id']}/replay")
    assert await app.state.door.deliveries.claim(1, lease=DAY) == []

    answer = await alice.post(f"/webhooks/{job['id']}/replay")

    (delivery,) = await app.state.door.deliveries.claim(1, lease=DAY)
    assert refused.status_code == 404
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    assert (delivery.message_id, delivery.attempt) == (message_id, 1)


async def test_what_has_no_webhook_or_is_not_over_is_not_delivered(alice, submit, claim, attempts):
    waiting, silent = await submit(webhook="https://example.com/hook"), await submit()
    attempts.fail(claim(silent), FAILURE)

    answers = [await alice.post(f"/webhooks/{job['id']}/replay") for job in (waiting, silent)]

    assert [answer.status_code for answer in answers] == [409, 409]


async def test_every_error_is_explained(alice):
    for code, (status, meaning) in ERRORS.items():
        explained = (await alice.get(f"/errors/{code}")).json()
        assert explained == {"code": code, "status": status, "meaning": meaning}

    assert (await alice.get("/errors/other")).status_code == 404


async def test_the_documentation_has_an_example_of_everything(alice):
    paths = (await alice.get("http://door/openapi.json")).json()["paths"]

    ours = {
        (path, method): operation
        for path, methods in paths.items()
        if path.startswith("/v1/") and not path.startswith("/v1/errors")
        for method, operation in methods.items()
    }
    assert len(ours) == 19
    for operation in ours.values():
        success = next(a for status, a in operation["responses"].items() if status < "3")
        assert all("example" in media for media in success.get("content", {}).values())
        assert operation["security"] == [{"Bearer": []}, {"KeyHeader": []}]
