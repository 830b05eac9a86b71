import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import create_app
from api.config import ApiSettings
from shared.ledger.attempts import Attempts
from shared.object_store import ObjectStore
from tests.servers import free_port

KEY = "secret-of-alice"
OTHER_KEY = "secret-of-bob"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture(scope="session")
def made() -> dict:
    """Clients of the object store, by what they are made of."""
    return {}


@pytest.fixture(autouse=True)
def store_made_once(monkeypatch, made) -> None:
    """Real clients of the object store are shared: botocore takes a third of a second for one."""
    connect = ObjectStore.connect

    def connect_once(settings, **options):
        key = (settings.model_copy(update={"models_file": Path()}), *options.items())
        if key not in made:
            made[key] = connect(settings, **options)
        return made[key]

    monkeypatch.setattr(ObjectStore, "connect", connect_once)


@dataclass(frozen=True)
class Faulty:
    """Stands for the door's submissions and takes none."""

    fault: Exception

    async def submit(self, submission: Any) -> Any:
        raise self.fault


@pytest.fixture
def settings(valkey_server, s3_server, redis, tmp_path) -> ApiSettings:
    models = tmp_path / "models.yaml"
    models.write_text("models: {demo: {family: sd, source: demo, scheduler: DDIMScheduler}}")
    return ApiSettings(
        redis_url=valkey_server.url,
        s3_endpoint=s3_server.endpoint,
        s3_access_key=s3_server.access_key,
        s3_secret_key=s3_server.secret_key,
        public_url="https://img.example.com",
        api_keys=f"alice={KEY},bob={OTHER_KEY}",
        models_file=models,
        sync_wait=0,
    )


@pytest.fixture
async def app(settings, anyio_backend) -> AsyncIterator:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app
    # FastAPI remembers functions of every app, and they it: a few hundred would be a slow heap.
    vars(app).clear()


@pytest.fixture
async def client(app) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        yield client


@pytest.fixture
def attempts(redis, settings) -> Attempts:
    """The other end: what a GPU worker would do."""
    return Attempts(redis, settings)


@pytest.fixture
def request_body() -> dict:
    """The v3 page's own request, with an inline image."""
    return {
        "key": KEY,
        "prompt": "a cat sitting on a bench",
        "negative_prompt": None,
        "init_image": base64.b64encode(PNG).decode(),
        "width": "512",
        "height": "512",
        "samples": "1",
        "num_inference_steps": "30",
        "safety_checker": "no",
        "enhance_prompt": "yes",
        "guidance_scale": 7.5,
        "strength": 0.7,
        "seed": None,
        "webhook": None,
        "track_id": None,
    }


@pytest.fixture
def free_port_url() -> str:
    """Where no Redis is."""
    return f"redis://127.0.0.1:{free_port()}/0"
