"""Formats of the outputs, and how long they last, as requests ask for them."""

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from api.routes.images import image_response
from tests.api.conftest import PNG
from tests.api.test_img2img import URL

pytestmark = pytest.mark.anyio

PREFIX = "0f8fad5b-d9cb-469f-a165-70867728950e"


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        (None, "png"),
        ("png", "png"),
        ("jpeg", "jpeg"),
        ("JPG", "jpeg"),
        ("jpg", "jpeg"),
        ("WebP", "webp"),
    ],
)
async def test_a_format_names_the_future_links(client, request_body, asked, runs):
    fields = {"output_format": asked, "quality": "80", "samples": 2}

    body = (await client.post(URL, json=request_body | fields)).json()

    assert (body["meta"]["output_format"], body["meta"]["quality"]) == (runs, 80)
    assert [link.rpartition("-")[2] for link in body["future_links"]] == [f"0.{runs}", f"1.{runs}"]


async def test_temporary_outputs_will_be_in_another_folder(client, request_body):
    fields = {"temp": "yes", "base64": "yes", "output_format": "webp"}

    body = (await client.post(URL, json=request_body | fields)).json()

    assert body["meta"]["temp"] == "yes"
    assert body["future_links"][0].startswith("https://img.example.com/temp/")
    assert body["future_links"][0].endswith("-0.base64")


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("output_format", "gif", "must be 'png', 'jpeg' or 'webp', got 'gif'"),
        ("output_format", 7, "must be 'png', 'jpeg' or 'webp', got 7"),
        ("quality", "0", "must be between 1 and 100, got '0'"),
        ("quality", 101, "must be between 1 and 100, got 101"),
        ("quality", "best", "must be a whole number, got 'best'"),
        ("temp", "perhaps", "must be yes or no, got 'perhaps'"),
    ],
)
async def test_what_cannot_be_made_is_refused_by_name(client, request_body, field, value, reason):
    answer = await client.post(URL, json=request_body | {field: value})

    assert answer.status_code == 400
    name = field.replace("_", " ")
    assert answer.json()["message"] == {field: [f"The {name} {reason}."]}


async def test_an_operator_chooses_the_format_of_requests_that_do_not(app, client, request_body):
    door = app.state.door
    settings = door.settings.model_copy(update={"output_format": "webp"})
    app.state.door = replace(door, settings=settings)

    formats = [
        (await client.post(URL, json=request_body | fields)).json()["meta"]["output_format"]
        for fields in ({}, {"output_format": None}, {"output_format": "png"})
    ]

    assert formats == ["webp", "webp", "png"]


@pytest.mark.parametrize("folder", ["generations", "temp"])
@pytest.mark.parametrize(
    ("extension", "content_type"),
    [
        ("png", "image/png"),
        ("jpeg", "image/jpeg"),
        ("webp", "image/webp"),
        ("base64", "text/plain"),
    ],
)
async def test_every_kind_of_output_is_served(client, app, folder, extension, content_type):
    path = f"{folder}/{PREFIX}-0.{extension}"
    app.state.door.store.put(path, PNG, content_type)

    answer = await client.get(f"/{path}")
    head = await client.head(f"/{path}")

    assert (answer.status_code, answer.content, head.status_code) == (200, PNG, 200)
    assert answer.headers["content-type"].partition(";")[0] == content_type


async def test_a_folder_serves_its_own_outputs_only(client, app):
    app.state.door.store.put(f"generations/{PREFIX}-1.webp", PNG, "image/webp")

    assert (await client.get(f"/temp/{PREFIX}-1.webp")).status_code == 404


async def test_a_submission_does_not_wait_behind_all_who_look_for_images(
    client, app, request_body, monkeypatch
):
    may_answer, begun = threading.Event(), []

    def open_(key: str):
        begun.append(key)
        may_answer.wait(30)
        raise FileNotFoundError(key)

    def job_of(key: str) -> None:
        may_answer.wait(30)

    store = app.state.door.store
    monkeypatch.setattr(store, "open", open_)
    monkeypatch.setattr(store, "job_of", job_of)
    delete = {"key": request_body["key"], "image": f"{PREFIX}-0.png"}
    looks = [
        look
        for _ in range(64)
        for look in (
            client.get(f"/generations/{PREFIX}-0.png"),
            client.get(f"/uploads/{'0' * 32}.png"),
            client.post("/api/v3/delete_image", json=delete),
        )
    ]
    looking = [asyncio.create_task(look) for look in looks]
    while not begun:
        await asyncio.sleep(0.01)

    async with asyncio.timeout(20):
        answer = await client.post(URL, json=request_body)
    may_answer.set()
    found = {one.status_code for one in await asyncio.gather(*looking)}

    assert answer.json()["status"] == "processing"
    assert found == {404}


class Stalled:
    """An object of a bucket that says nothing more; who closes it waits for who reads it."""

    size, content_type = 9, "image/png"

    def __init__(self):
        self.is_read, self.may_end = threading.Event(), threading.Event()

    def read(self, _):
        self.is_read.set()
        self.may_end.wait(10)
        return b"the image"

    def close(self):
        self.may_end.wait(10)


async def test_an_image_that_is_given_up_while_the_bucket_stalls_holds_up_nobody(settings):
    image, sent = Stalled(), []

    async def send(message):
        sent.append(message)

    answer = asyncio.create_task(image_response(image, settings)({"method": "GET"}, None, send))
    await asyncio.to_thread(image.is_read.wait, 10)
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer

    assert not image.may_end.is_set()  # closing it still waits, elsewhere
    image.may_end.set()


async def test_what_the_bucket_takes_for_an_image_is_not_its_readers_time(settings):
    hasty = settings.model_copy(update={"body_time": timedelta(0), "body_rate": 2**40})
    image, sent = Stalled(), []

    async def send(message):
        sent.append(message)
        image.may_end.set()

    await image_response(image, hasty)({"method": "GET"}, None, send)

    assert b"".join(message.get("body", b"") for message in sent) == b"the image"
