import base64
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from shared.ledger.attempts import WorkerRecord
from tests.api.conftest import KEY, OTHER_KEY, PNG


def _client(app, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        base_url="http://door/v1",
        headers={"Authorization": f"Bearer {key}"},
    )


@pytest.fixture
async def alice(app) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with a key."""
    async with _client(app, KEY) as client:
        yield client


@pytest.fixture
async def bob(app) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with another key."""
    async with _client(app, OTHER_KEY) as client:
        yield client


@pytest.fixture
def body() -> dict:
    """A request as the documentation shows it."""
    return {"prompt": "a cat", "init_image": base64.b64encode(PNG).decode(), "seed": 42}


@pytest.fixture
def submit(alice, body):
    """Submits a job; its body."""

    async def submit(**changes) -> dict:
        answer = await alice.post("/img2img", json=body | changes)
        assert answer.status_code == 202, answer.text
        return answer.json()

    return submit


@pytest.fixture
def claim(attempts):
    """Takes a job, as a worker does."""
    return lambda job: attempts.claim(str(job["id"]), "1", "worker:1")


@pytest.fixture
def worker(attempts):
    """A live worker of the pool."""
    record = WorkerRecord("w", frozenset({"default"}), slots=4, occupancy=1.0, steps=0)
    attempts.register(record, lifetime=timedelta(minutes=5))
