"""Images that their owner has removed."""

import pytest

from shared.jobs import Result
from shared.object_store import output_keys
from tests.api.conftest import KEY, OTHER_KEY, PNG
from tests.api.test_img2img import URL
from tests.jobs import FAILURE

pytestmark = pytest.mark.anyio

DELETE = "/api/v3/delete_image"
DONE = {"status": "success", "message": "image deleted", "messege": "image deleted"}
UNKNOWN_ID, UNKNOWN_NAME = 123, "0f8fad5b-d9cb-469f-a165-70867728950e-0.png"


@pytest.fixture
def paint(client, request_body, attempts, app):
    """Requests two images and makes them as a worker does; the answer to a fetch."""

    async def paint(**fields):
        asked = await client.post(URL, json=request_body | {"samples": 2} | fields)
        attempt = attempts.claim(str(asked.json()["id"]), "1", "worker:1")
        job = attempt.job
        keys = output_keys(job, 1)
        for key in keys:
            app.state.door.store.put(key, PNG, "image/png", job_id=job.id)
        result = Result(
            keys=tuple(keys),
            file_prefix=job.file_prefix,
            width=64,
            height=64,
            scheduler="DDIMScheduler",
            seconds=1.0,
        )
        assert attempts.succeed(attempt, result)
        return await fetch(client, job.id)

    return paint


async def fetch(client, job_id):
    return (await client.post(f"/api/v3/fetch/{job_id}", json={"key": KEY})).json()


async def delete(client, key=KEY, **fields):
    return await client.post(DELETE, json={"key": key} | fields)


async def statuses(client, links):
    return [(await client.get(link)).status_code for link in links]


@pytest.mark.parametrize("temp", ["no", "yes"])
async def test_all_images_of_a_request_are_deleted(client, paint, temp):
    body = await paint(temp=temp)
    assert await statuses(client, body["output"]) == [200, 200]

    answer = await delete(client, request_id=str(body["id"]), type="image")

    assert (answer.status_code, answer.json()) == (200, DONE)
    assert await statuses(client, body["output"]) == [404, 404]
    after = await fetch(client, body["id"])
    assert (after["status"], after["output"]) == ("failed", [])
    assert after["message"] == "The images of this request were deleted"
    assert (await delete(client, request_id=body["id"])).json() == DONE


@pytest.mark.parametrize(
    "named",
    [
        lambda link: link,
        lambda link: link.rpartition("/")[2],
        lambda link: f"{link}?X-Amz-Expires=1",
        lambda link: link.replace("https://img.example.com", "http://s3.test/img2img"),
    ],
    ids=["link", "name", "signed", "bucket"],
)
async def test_one_image_is_deleted_by_its_name_or_link(client, paint, named):
    body = await paint()

    answer = await delete(client, image=named(body["output"][1]))

    assert answer.json() == DONE
    assert await statuses(client, body["output"]) == [200, 404]
    after = await fetch(client, body["id"])
    assert (after["status"], after["output"]) == ("success", body["output"][:1])


async def test_our_own_api_shows_what_is_left_with_its_seed(client, paint):
    body = await paint(seed=7)
    await delete(client, image=body["output"][0])

    answer = await client.get(f"/v1/jobs/{body['id']}", headers={"Authorization": f"Bearer {KEY}"})

    assert answer.json()["images"] == [{"url": body["output"][1], "seed": 8, "unsafe": None}]


async def test_a_request_whose_images_were_deleted_one_by_one_has_none(client, paint):
    body = await paint()

    for link in body["output"]:
        await delete(client, image=link)

    assert (await fetch(client, body["id"]))["status"] == "failed"


async def test_an_image_of_another_tenant_is_as_unknown_as_one_that_never_was(client, paint):
    body = await paint()

    for theirs, unknown in (
        ({"request_id": body["id"]}, {"request_id": UNKNOWN_ID}),
        ({"image": body["output"][0]}, {"image": UNKNOWN_NAME}),
    ):
        answers = [await delete(client, OTHER_KEY, **fields) for fields in (theirs, unknown)]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert answers[0].json() == answers[1].json()
    assert await statuses(client, body["output"]) == [200, 200]


async def test_images_that_are_not_done_are_not_deleted(client, request_body, attempts, app):
    job_id = (await client.post(URL, json=request_body)).json()["id"]

    waiting = await delete(client, request_id=job_id)
    job = attempts.claim(str(job_id), "1", "worker:1").job
    (key,) = output_keys(job, 1)
    app.state.door.store.put(key, PNG, "image/png", job_id=job_id)
    running = await delete(client, image=key)

    assert (waiting.status_code, running.status_code) == (409, 409)
    assert waiting.json()["message"].startswith("The request is still processing")
    assert app.state.door.store.get(key).body == PNG


async def test_what_lost_attempts_left_behind_goes_too(client, request_body, attempts, app):
    job_id = (await client.post(URL, json=request_body)).json()["id"]
    first = attempts.claim(str(job_id), "1", "worker:1")
    (left,) = output_keys(first.job, 1)
    app.state.door.store.put(left, PNG, "image/png", job_id=job_id)
    attempts.hand_back(first, charged=True, failure=FAILURE)
    attempts.fail(attempts.claim(str(job_id), "2", "worker:1"), FAILURE)
    assert await statuses(client, [f"/{left}"]) == [200]

    assert (await delete(client, request_id=job_id)).json() == DONE

    assert await statuses(client, [f"/{left}"]) == [404]
    assert (await fetch(client, job_id))["message"] == FAILURE.message


async def test_a_record_that_expired_does_not_come_back(client, paint, redis, app):
    body = await paint()
    redis.delete(f"job:{body['id']}")

    await app.state.door.submissions.note_deleted(body["id"], ["generations/x-0.png"])

    assert not redis.exists(f"job:{body['id']}")
    assert (await delete(client, image=body["output"][0])).status_code == 404


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({}, "request_id", "The request id or image must be given, and not both."),
        (
            {"request_id": 1, "image": UNKNOWN_NAME},
            "request_id",
            "The request id or image must be given, and not both.",
        ),
        ({"request_id": 1, "type": "video"}, "type", "The type must be image, got 'video'."),
    ],
)
async def test_what_to_delete_must_be_said(client, fields, field, reason):
    answer = await delete(client, **fields)

    assert answer.status_code == 400
    assert answer.json()["message"] == {field: [reason]}


@pytest.mark.parametrize(
    "fields", [{"request_id": "x"}, {"request_id": -1}, {"image": "../inputs/a"}, {"image": ["a"]}]
)
async def test_what_is_no_image_of_ours_is_unknown(client, fields):
    assert (await delete(client, **fields)).status_code == 404
