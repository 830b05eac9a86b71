"""What a request holds while it waits for its result."""

import asyncio
import base64
import json
import tracemalloc
from datetime import timedelta

import pytest

from shared.ledger.attempts import WorkerRecord
from tests.api.conftest import KEY, PNG

pytestmark = pytest.mark.anyio

IMAGE = base64.b64encode(PNG + bytes(6 * 2**20)).decode()
HEADERS = {"Authorization": f"Bearer {KEY}", "Prefer": "wait=30"}


@pytest.mark.parametrize("path", ["/api/v3/img2img", "/api/v3/nsfw_image_check", "/v1/img2img"])
async def test_a_request_that_waits_keeps_no_image(client, attempts, redis, path):
    record = WorkerRecord(
        "gpu0", frozenset({"default"}), slots=1, occupancy=1.0, steps=0, checked=frozenset({"demo"})
    )
    attempts.register(record, lifetime=timedelta(hours=1))
    body = json.dumps({"prompt": "a cat", "init_image": IMAGE}).encode()

    async def sent():
        yield body

    tracemalloc.start()
    asking = asyncio.create_task(client.post(path, content=sent(), headers=HEADERS))
    while not (jobs := redis.keys("job:*")):
        assert not asking.done(), asking.result().text
        await asyncio.sleep(0)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await client.delete(f"/v1/jobs/{jobs[0].partition(':')[2]}", headers=HEADERS)
    await asking

    assert peak > len(IMAGE)  # it was there
    assert kept < len(IMAGE) / 2
