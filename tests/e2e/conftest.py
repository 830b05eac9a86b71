"""The whole service, as `make up` runs it: real Valkey, real S3, API, worker and courier."""

import base64
import io
import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from redis import Redis

from infra.local import Stack
from tests.servers import Reply, free_port, http_server

PHOTO = Path("infra/demo/astronaut.jpg")
LORAS = """
loras:
  ink: {family: sd, source: ink.safetensors}
  torn: {family: sd, source: torn.safetensors}
"""
LEASE_SECONDS = 4


@dataclass(frozen=True)
class Site:
    """The customer's own web server."""

    url: str
    hooks: queue.Queue
    """(headers, body) of each webhook."""
    answer_now: threading.Event
    """Webhooks to /slow are not answered before."""


class Customer:
    """Calls the service over HTTP, and has a web server for images and webhooks."""

    def __init__(self, stack: Stack, metrics_port: int, site: Site) -> None:
        self.stack = stack
        self.site = site
        self.http = httpx.Client(base_url=stack.url, timeout=90)
        self._metrics = f"http://127.0.0.1:{metrics_port}/metrics"

    def body(self, **fields: Any) -> dict[str, Any]:
        """A small request; `fields` replace its own."""
        photo = base64.b64encode(PHOTO.read_bytes()).decode()
        defaults = {
            "key": self.stack.key,
            "prompt": "a red circle",
            "enhance_prompt": "no",
            "init_image": photo,
            "width": 64,
            "height": 64,
            "num_inference_steps": 4,
            "strength": 0.5,
            "seed": 1,
        }
        return defaults | fields

    def post(self, *, wait: int | None = None, **fields: Any) -> dict[str, Any]:
        """The answer to an image-to-image request."""
        headers = {} if wait is None else {"Prefer": f"wait={wait}"}
        answer = self.http.post("/api/v3/img2img", json=self.body(**fields), headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post_all(self, requests: list[dict[str, Any]], **same: Any) -> list[dict[str, Any]]:
        """The answers to requests that are sent at the same time."""
        with ThreadPoolExecutor(len(requests)) as threads:
            return list(threads.map(lambda fields: self.post(**same, **fields), requests))

    def fetch(self, job_id: int) -> dict[str, Any]:
        """What the service says of a job now."""
        return self.http.post(f"/api/v3/fetch/{job_id}", json={"key": self.stack.key}).json()

    def pngs(self, answer: dict[str, Any]) -> list[bytes]:
        """The outputs of an answer, opened by their links."""
        assert answer["status"] == "success", answer
        images = [self.http.get(link) for link in answer["output"]]
        assert {image.headers["content-type"] for image in images} == {"image/png"}
        return [image.content for image in images]

    def metric(self, name: str) -> float:
        """A value that the worker exports."""
        lines = httpx.get(self._metrics).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def webhooks(self, count: int, *, seconds: float = 60) -> list[tuple[dict[str, str], bytes]]:
        """The next webhooks that arrive: headers and body."""
        return [self.site.hooks.get(timeout=seconds) for _ in range(count)]


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    hooks: queue.Queue = queue.Queue()
    answer_now = threading.Event()
    pages = {"/photo.jpg": PHOTO.read_bytes(), "/page.html": b"<html>no image</html>"}

    def answer(request) -> Reply:
        if request.method == "POST":
            hooks.put((request.headers, request.body))
            if request.path == "/slow":
                answer_now.wait(30)
            return Reply(204)
        page = pages.get(request.path)
        return Reply(200, page) if page else Reply(404)

    with http_server(answer) as server:
        yield Site(server.url, hooks, answer_now)


@pytest.fixture(scope="session")
def customer(tmp_path_factory, models_dir, site) -> Iterator[Customer]:
    metrics_port = free_port()
    models_file = models_dir / "models.yaml"
    models_file.write_text(Path("infra/models.yaml").read_text() + LORAS)
    settings = {
        "IMG2IMG_MODELS_FILE": str(models_file),
        "IMG2IMG_MODELS_DIR": str(models_dir),
        "IMG2IMG_METRICS_PORT": str(metrics_port),
        "IMG2IMG_OUTBOUND_ALLOW": "127.0.0.1",
        "IMG2IMG_LEASE": str(LEASE_SECONDS),
        "IMG2IMG_DRAIN": "1",
    }
    with Stack(data=tmp_path_factory.mktemp("stack"), port=0, env=settings) as stack:
        customer = Customer(stack, metrics_port, site)
        with customer.http:
            yield customer
        with Redis.from_url(stack.redis_url, decode_responses=True) as redis:
            assert redis.acl_log() == [], "a process needs what infra/redis.users denies it"


def pixels(png: bytes) -> Image.Image:
    """The picture in a PNG."""
    return Image.open(io.BytesIO(png))
