"""`nsfw_image_check`: a job like any other, whose samples are only checks."""

import base64
from datetime import timedelta

import pytest

from shared.jobs import Result
from shared.ledger.attempts import WorkerRecord
from tests.api.conftest import KEY, PNG

pytestmark = pytest.mark.anyio

URL = "/api/v3/nsfw_image_check"
IMAGE = base64.b64encode(PNG).decode()
LINK = "https://example.com/cat.png"


@pytest.fixture
def checker(attempts):
    """A worker that has one."""
    record = WorkerRecord(
        "gpu0", frozenset({"default"}), slots=1, occupancy=1.0, steps=0, checked=frozenset({"demo"})
    )
    attempts.register(record, lifetime=timedelta(hours=1))


async def check(client, path=URL, **fields):
    answer = await client.post(path, json={"key": KEY} | fields)
    return answer.status_code, answer.json()


@pytest.mark.usefixtures("checker")
@pytest.mark.parametrize("path", [URL, "/api/v1/enterprise/nsfw_image_check"])
@pytest.mark.parametrize(("image", "shown"), [(LINK, LINK), (IMAGE, None)])
async def test_a_check_is_a_job_and_its_verdict_the_answer(client, attempts, path, image, shown):
    status, waits = await check(client, path, init_image=image)
    attempt = attempts.claim(str(waits["id"]), "1", "gpu0:1")
    result = Result(
        keys=(), file_prefix="x", width=1, height=1, scheduler="", unsafe=(True,), seconds=0.1
    )
    attempts.succeed(attempt, result)
    fetched = await client.post(waits["fetch_result"].removeprefix("https://img.example.com"),
                                json={"key": KEY})  # fmt: skip

    assert (status, waits["status"], waits["future_links"]) == (200, "processing", [])
    params = attempt.job.params
    assert (params.task, params.model_id, attempt.job.pool) == ("check", "demo", "default")
    assert fetched.json() == {
        "status": "success",
        "id": waits["id"],
        "request_id": str(waits["id"]),
        "images": shown,
        "has_nsfw_concept": [True],
    }


@pytest.mark.usefixtures("checker")
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "field is required"),
        ({"init_image": 7}, "must be a string"),
        ({"init_image": "http://127.0.0.1/a.png"}, "cannot be used"),
        ({"init_image": "no image"}, "must be"),
    ],
)
async def test_what_is_no_image_is_named(client, redis, fields, reason):
    status, body = await check(client, **fields)

    assert (status, body["status"]) == (400, "error")
    assert body["message"]["init_image"][0].startswith(f"The init image {reason}")
    assert redis.keys("job:*") == []


async def test_where_nobody_has_a_checker_it_says_so(client, redis):
    status, body = await check(client, init_image=LINK)

    reason = "no worker of it has a safety checker"
    assert status == 501
    assert body["message"] == f"nsfw_image_check is not available on this server: {reason}"
    assert redis.keys("job:*") == []


@pytest.fixture
def checker_of_all(settings):
    with settings.models_file.open("a") as file:
        file.write("\nsafety_checker: {source: somewhere}")


@pytest.mark.usefixtures("checker_of_all")
async def test_where_all_models_have_a_checker_it_waits_for_a_worker(client):
    status, body = await check(client, init_image=LINK)

    assert (status, body["status"]) == (200, "processing")


@pytest.mark.usefixtures("checker")
async def test_our_own_api_shows_a_check(client):
    _, waits = await check(client, init_image=LINK)
    answer = await client.get(f"/v1/jobs/{waits['id']}", headers={"Authorization": f"Bearer {KEY}"})

    assert (answer.status_code, answer.json()["images"]) == (200, [])
