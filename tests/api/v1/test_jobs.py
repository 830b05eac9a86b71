"""Jobs: looked at, listed, followed and cancelled, by their owner only."""

import asyncio
import json
from asyncio import FIRST_COMPLETED
from dataclasses import replace
from datetime import timedelta

import pytest
from redis.exceptions import RedisError

from api.routes.v1.jobs import events
from tests.jobs import FAILURE, RESULT

pytestmark = pytest.mark.anyio

HOUR = timedelta(hours=1)


async def get(client, job) -> dict:
    return (await client.get(f"/jobs/{job['id']}")).json()


async def test_a_job_is_shown_at_every_stage(alice, submit, claim, attempts, worker):
    job = await submit()
    waiting = await get(alice, job)
    attempt = claim(job)
    begun = await get(alice, job)
    attempts.renew([(attempt, 7, 14)])
    running = await get(alice, job)
    attempts.fail(attempt, FAILURE)
    failed = await get(alice, job)

    assert waiting["queue"]["position"] == 1
    assert (running["status"], running["queue"]) == ("running", None)
    assert begun["progress"] is None, "how many steps there are is not known yet"
    assert running["progress"] == {"step": 7, "steps": 14}
    assert (failed["status"], failed["error"]) == ("failed", FAILURE.model_dump())


async def test_a_waiting_job_says_how_many_are_before_it_and_why_it_waits(alice, submit):
    jobs = [await submit() for _ in range(3)]

    assert (await get(alice, jobs[2]))["queue"] == {
        "position": 3,
        "reason": "no_worker",
        "eta": None,
    }


async def test_a_job_says_that_its_worker_loads_its_model(alice, submit, follow, claim, attempts):
    job = await submit()
    attempt = claim(job)
    attempts.renew([(attempt, 0, 0)], loading=[attempt])
    waits = {"position": 0, "reason": "loading_model", "eta": None}
    following = await follow(job)

    shown, told = await get(alice, job), await following()
    attempts.renew([(attempt, 1, 14)])

    assert (shown["status"], shown["queue"]) == ("running", waits)
    assert told == ("loading", waits)
    assert (await get(alice, job))["queue"] is None
    assert await following() == ("running", {"step": 1, "steps": 14})


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("path", ["/jobs/{id}", "/jobs/1"])
async def test_a_job_of_another_key_is_as_unknown_as_one_that_never_was(bob, submit, method, path):
    job = await submit()

    answer = await bob.request(method, path.format(**job))

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "no_such_job")


async def test_a_waiting_job_is_cancelled_and_again_without_harm(alice, submit, claim):
    job = await submit(webhook="https://example.com/hook")

    answers = [await alice.delete(f"/jobs/{job['id']}") for _ in range(2)]

    assert [(a.status_code, a.json()["status"]) for a in answers] == [(200, "cancelled")] * 2
    assert answers[0].json()["error"] == {"code": "cancelled", "message": "Cancelled by its owner"}
    assert claim(job) is None


async def test_a_running_job_is_cancelled_and_its_worker_told(alice, submit, claim, attempts):
    job = await submit()
    attempt = claim(job)

    answer = await alice.delete(f"/jobs/{job['id']}")

    assert answer.json()["status"] == "cancelled"
    assert attempts.renew([(attempt, 1, 2)]) == [False]


async def test_a_job_that_is_over_is_not_cancelled(alice, submit, claim, attempts):
    job = await submit()
    attempts.succeed(claim(job), RESULT)

    answer = await alice.delete(f"/jobs/{job['id']}")

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "already_over")
    assert (await get(alice, job))["status"] == "succeeded"


async def test_the_public_api_words_a_cancelled_job_as_failed(alice, submit):
    job = await submit()
    await alice.delete(f"/jobs/{job['id']}")

    fetched = (await alice.post(f"http://door/api/v3/fetch/{job['id']}")).json()

    assert (fetched["status"], fetched["message"]) == ("failed", "Cancelled by its owner")


async def test_the_public_api_shows_a_job_of_ours_and_where_its_clients_find_it(alice, submit):
    job = await submit()

    fetched = (await alice.post(f"http://door/api/v3/fetch/{job['id']}")).json()
    again = await alice.post(fetched["fetch_result"])

    assert fetched["fetch_result"].endswith(f"/api/v3/fetch/{job['id']}")
    assert (fetched["status"], again.json()["id"]) == ("processing", fetched["id"])


async def test_jobs_are_listed_by_track_id_page_by_page(alice, bob, submit):
    jobs = [await submit(track_id=track_id) for track_id in ("a", 7, "a", "a")]

    ids, cursor = [], None
    while page := await _page(alice, track_id="a", limit=2, cursor=cursor):
        ids += [job["id"] for job in page["jobs"]]
        if (cursor := page["next_cursor"]) is None:
            break

    assert sorted(ids) == sorted(job["id"] for job in jobs if job["track_id"] == "a")
    assert [j["id"] for j in (await _page(alice, track_id="7"))["jobs"]] == [jobs[1]["id"]]
    assert len((await _page(alice))["jobs"]) == 4
    assert await _page(bob, track_id="a") == {"jobs": [], "next_cursor": None}


@pytest.mark.parametrize(
    "asked",
    ['{"b":"é","a":[1.5,null]}', '{ "a": [1.5, null], "b": "\\u00e9" }'],
    ids=["compact", "wide"],
)
async def test_a_track_id_is_found_however_its_json_is_written(alice, submit, asked):
    job = await submit(track_id={"a": [1.5, None], "b": "é"})

    assert [one["id"] for one in (await _page(alice, track_id=asked))["jobs"]] == [job["id"]]


@pytest.mark.parametrize("asked", ["{", "[" * 10_000, "[" * 900 + "]" * 900, ""])
async def test_a_track_id_that_is_nobodys_finds_nothing(alice, submit, asked):
    await submit(track_id={"a": 1})

    assert await _page(alice, track_id=asked) == {"jobs": [], "next_cursor": None}


async def _page(client, **params) -> dict:
    asked = {name: value for name, value in params.items() if value is not None}
    return (await client.get("/jobs", params=asked)).json()


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"limit": 0}, "must be at least 1"),
        ({"limit": 101}, "must be at most 100"),
        ({"cursor": "x"}, "must be a whole number"),
    ],
)
async def test_a_page_that_cannot_be_is_refused(alice, params, reason):
    answer = await alice.get("/jobs", params=params)

    (param,) = params
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, param)
    assert error["message"] == f"{param} {reason}"


@pytest.fixture
def follow(app):
    """Follows a job; each call gives the next event."""
    door = app.state.door

    async def follow(job, **options):
        record = await door.submissions.find(job["id"], "alice")
        stream = events(door, record, every=0.01, **options)

        async def following() -> tuple[str, dict] | None:
            text = await anext(stream, None)
            if text is None:
                return None
            event, data = text.removesuffix("\n\n").split("\n")
            return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))

        return following

    return follow


async def test_a_stream_tells_everything_that_happens_to_a_job(
    submit, follow, claim, attempts, worker
):
    first, job = await submit(), await submit()
    following = await follow(job)

    assert await following() == ("queued", {"position": 2, "reason": "its_turn_comes", "eta": 23.0})
    claim(first)
    name, data = await following()
    assert (name, data["position"]) == ("queued", 1)
    attempt = claim(job)
    assert await following() == ("running", {})
    attempts.renew([(attempt, 7, 14)])
    assert await following() == ("running", {"step": 7, "steps": 14})
    attempts.succeed(attempt, RESULT)
    name, data = await following()
    assert (name, data["id"], len(data["images"])) == ("succeeded", job["id"], 1)
    assert await following() is None


async def test_a_stream_ends_when_the_job_is_cancelled_without_waiting_for_the_next_look(
    alice, app, submit
):
    job = await submit()
    record = await app.state.door.submissions.find(job["id"], "alice")
    stream = events(app.state.door, record, every=HOUR.total_seconds())

    assert (await anext(stream)).startswith("event: queued")
    await alice.delete(f"/jobs/{job['id']}")

    assert (await anext(stream)).startswith("event: cancelled")
    assert [event async for event in stream] == []


async def test_a_silent_stream_beats(app, submit):
    job = await submit()
    record = await app.state.door.submissions.find(job["id"], "alice")
    stream = events(app.state.door, record, every=0.01, heartbeat=0)

    assert [(await anext(stream))[:7] for _ in range(3)] == ["event: ", ": still", ": still"]
    await stream.aclose()


async def test_a_stream_outlives_a_ledger_that_does_not_answer(app, submit, claim, monkeypatch):
    job = await submit()
    submissions = app.state.door.submissions
    record = await submissions.find(job["id"], "alice")
    stream = events(app.state.door, record, every=0.001, heartbeat=0)
    assert (await anext(stream)).startswith("event: queued")

    async def fail(*_):
        raise RedisError("away")

    with monkeypatch.context() as away:
        away.setattr(type(submissions), "find", fail)
        assert [await anext(stream) for _ in range(3)] == [": still here\n\n"] * 3
    claim(job)

    assert (await anext(stream)).startswith("event: running")
    await stream.aclose()


async def test_of_many_streams_at_once_only_so_many_are_opened(app, alice, submit):
    path, door = f"/jobs/{(await submit())['id']}", app.state.door
    limited = door.settings.model_copy(update={"most_streams": 2})
    app.state.door = replace(door, settings=limited)
    asking = [asyncio.create_task(alice.get(f"{path}/events")) for _ in range(30)]

    while sum(task.done() for task in asking) < 28:
        await asyncio.wait(
            [task for task in asking if not task.done()], return_when=FIRST_COMPLETED
        )
    await alice.delete(path)  # or the others would be followed for long
    answers = [await task for task in asking]

    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 28
    refused = max(answers, key=lambda answer: answer.status_code).json()["error"]
    assert refused["code"] == "too_many_streams"
    assert "At most 2 event streams" in refused["message"]


async def test_a_stream_that_ends_and_one_of_no_job_make_room(app, alice, submit):
    path = f"/jobs/{(await submit())['id']}"
    await alice.delete(path)

    ended = await alice.get(f"{path}/events")
    missing = await alice.get("/jobs/1/events")

    assert (ended.status_code, missing.status_code) == (200, 404)
    assert app.state.door.waiting.streams["alice"] == 0


async def test_the_stream_of_a_job_that_is_over_is_its_end(alice, submit, claim, attempts):
    job = await submit()
    attempts.succeed(claim(job), RESULT)

    answer = await alice.get(f"/jobs/{job['id']}/events")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.startswith("event: succeeded\ndata: {")
    assert answer.text.count("event:") == 1
    assert (await alice.get("/jobs/1/events")).status_code == 404
