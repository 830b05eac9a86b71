"""How far a job is, as `fetch` tells it."""

import pytest

from tests.api.conftest import KEY
from tests.jobs import FAILURE, RESULT

pytestmark = pytest.mark.anyio


@pytest.fixture
async def fetch(client, request_body):
    """Asks about a job that is submitted now."""
    submitted = (await client.post("/api/v3/img2img", json=request_body)).json()

    async def ask():
        url = f"/api/v3/fetch/{submitted['id']}"
        return (await client.post(url, json={"key": KEY})).json()

    return ask


@pytest.fixture
def claim(attempts, redis):
    """Takes the job, as a worker does."""

    def take(generation="1"):
        (job_id,) = redis.zrange("published:default", 0, 0)
        return attempts.claim(job_id, generation, "worker:1")

    return take


async def test_a_running_job_tells_the_steps_done_and_in_all(fetch, claim, attempts):
    waiting = await fetch()
    attempt = claim()
    begun = await fetch()
    attempts.renew([(attempt, 7, 21)])
    running = await fetch()

    assert "progress" not in waiting
    assert "progress" not in begun, "how many steps there are is not known yet"
    assert running["progress"] == {"step": 7, "steps": 21}
    assert (running["status"], running["output"]) == ("processing", [])


async def test_another_attempt_begins_again(fetch, claim, attempts):
    attempt = claim()
    attempts.renew([(attempt, 7, 21)])
    attempts.hand_back(attempt, charged=False, failure=FAILURE)

    waiting = await fetch()
    claim("2")
    running = await fetch()

    assert "progress" not in waiting
    assert running["progress"]["step"] == 0


@pytest.mark.parametrize("degraded", [(), ("vae_float32", "vae_tiling")])
async def test_the_answer_says_what_was_done_otherwise_than_usual(fetch, claim, attempts, degraded):
    attempts.succeed(claim(), RESULT.model_copy(update={"degraded": degraded}))

    answer = await fetch()

    assert "progress" not in answer
    assert answer["meta"]["degraded"] == list(degraded)
