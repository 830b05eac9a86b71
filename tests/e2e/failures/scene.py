"""The whole service on simulated devices, with everything at hand that can break beside it."""

import hashlib
import io
import json
import queue
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from redis import Redis

from infra.local import Stack
from shared.ledger.scripts import source
from tests.proxy import Link, proxy
from tests.servers import HttpServer, Nanio, Reply, Request, Valkey, http_server, nanio, valkey

WORKERS = ("simulated", "simulated-2")
QUICK = {
    "IMG2IMG_LEASE": "2",
    "IMG2IMG_DRAIN": "1",
    "IMG2IMG_RETRY_DELAY": "0",
    "IMG2IMG_STEP_TIME": "0.005",
}
LONG = {"num_inference_steps": 50, "strength": 1.0}
"""With `SLOWLY` two seconds of work; in QUICK's steps a quarter of one."""
SLOWLY = {"IMG2IMG_STEP_TIME": "0.04"}
SECONDS = 60


def script(name: str) -> bytes:
    """How a call of a ledger script is known on the wire."""
    return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest().encode()


def photo() -> bytes:
    """A small PNG."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(file, "PNG")
    return file.getvalue()


@dataclass
class Site:
    """The customer's own web server: images under /, webhooks by POST."""

    server: HttpServer
    hooks: "queue.Queue[tuple[str, dict[str, Any]]]"
    """(webhook-id, body) of each."""
    let_go: threading.Event
    """`/held.png` is not sent before."""
    asked: threading.Event
    """Somebody waits for it."""


@dataclass
class Scene:
    """A running service, and the ways to hurt it."""

    stack: Stack
    redis: Redis
    """Straight to the server: what the proxies do does not touch it."""
    valkey: Valkey
    redis_link: Link
    s3: Nanio
    s3_link: Link
    site: Site
    http: httpx.Client
    accepted: dict[int, str] = field(default_factory=dict)
    """Jobs not yet checked, and what they are called in errors."""

    def ask(self, *, prefer: str = "respond-async", **fields: Any) -> httpx.Response:
        """The answer to a request for one small image, accepted or not."""
        body = {
            "key": self.stack.key,
            "prompt": "a cat",
            "enhance_prompt": "no",
            "init_image": f"{self.site.server.url}/photo.png",
            "width": 64,
            "height": 64,
            "num_inference_steps": 4,
            "strength": 0.5,
            "webhook": f"{self.site.server.url}/hook",
        } | fields
        headers = {"Prefer": prefer}
        if key := body.pop("idempotency_key", None):
            headers["Idempotency-Key"] = key
        return self.http.post("/api/v3/img2img", json=body, headers=headers)

    def submit(self, **fields: Any) -> int:
        """The id of a job that was accepted."""
        answer = self.ask(**fields)
        assert answer.status_code == 200, answer.text
        self.accepted[answer.json()["id"]] = str(fields)
        return int(answer.json()["id"])

    def replace(self, *names: str) -> None:
        """New processes, soon, in the place of dead ones; nobody counts these deaths."""
        for name in names:
            self.stack.stop_process(name)
            self.stack.processes[name].want()

    def bring_forward(self) -> None:
        """Webhooks whose taker never heard that it has them are due now, not in half a minute."""
        for job_id in self.redis.zrange("outbox", 0, -1):
            self.redis.zadd("outbox", {job_id: 0}, xx=True)

    def cancel(self, job_id: int) -> str:
        """The state of a job that was cancelled, or why it was not."""
        headers = {"Authorization": f"Bearer {self.stack.key}"}
        answer = self.http.delete(f"/v1/jobs/{job_id}", headers=headers)
        said = answer.json()
        return str(said["status"] if answer.status_code == 200 else said["error"]["code"])

    def field(self, job_id: int, name: str) -> str:
        """A field of the job's record."""
        return str(self.redis.hget(f"job:{job_id}", name) or "")

    def state(self, job_id: int) -> str:
        """Where the job stands."""
        return self.field(job_id, "state")

    def worker_of(self, job_id: int) -> str:
        """The process that runs it."""
        return process_of(self.field(job_id, "owner"))

    def is_painted(self, job_id: int) -> bool:
        """Whether it takes steps."""
        return int(self.field(job_id, "step") or 0) > 0

    def pids(self, *names: str) -> dict[str, int | None]:
        """Of these processes."""
        return {name: self.stack.processes[name].pid for name in names}

    def settled(self, *, extra_starts: int, seconds: float = SECONDS) -> Counter[str]:
        """How the accepted jobs ended, once nothing of them is left anywhere.

        Every job has one final state and one webhook id, its images can be read, and all of them
        together were started no more often than once and so many times again.
        """
        jobs, self.accepted = self.accepted, {}
        until(lambda: all(self.state(job) in ENDS for job in jobs), seconds)
        ends = {job: self.state(job) for job in jobs}
        until(lambda: not self.left(), seconds)
        assert {job: self.state(job) for job in jobs} == ends, "a final state changed"
        self._check_webhooks(jobs, ends)
        for job, end in ends.items():
            self._check_images(job, end)
        starts = {job: int(self.field(job, "generation")) for job in jobs}
        assert sum(starts.values()) - len(jobs) <= extra_starts, starts
        return Counter(ends.values())

    def left(self) -> dict[str, int]:
        """What the ledger still has to do, by key."""
        with self.redis.pipeline() as pipe:
            sets = ("leases", "published:default", "waiting:default", "delayed", "outbox")
            keys = [*sets, "ring:default", "deadlines"]
            for key in keys:
                pipe.zcard(key)
            pipe.scard("live:local")
            counts = dict(zip([*keys, "live:local"], pipe.execute(), strict=True))
        lanes = list(self.redis.scan_iter("lane:*"))
        return {key: count for key, count in counts.items() if count} | dict.fromkeys(lanes, 1)

    def _check_webhooks(self, jobs: dict[int, str], ends: dict[int, str]) -> None:
        told: dict[int, set[tuple[str, str]]] = defaultdict(set)
        while not self.site.hooks.empty():
            message_id, body = self.site.hooks.get()
            told[body["id"]].add((message_id, body["status"]))
        words = {job: "success" if end == "succeeded" else "failed" for job, end in ends.items()}
        hooked = [job for job in jobs if self.field(job, "webhook")]
        heard = {job: [status for _, status in told[job]] for job in hooked}
        assert heard == {job: [words[job]] for job in hooked}

    def _check_images(self, job: int, end: str) -> None:
        answer = self.http.post(f"/api/v3/fetch/{job}", json={"key": self.stack.key}).json()
        assert answer["status"] == ("success" if end == "succeeded" else "failed"), answer
        for link in answer["output"]:
            Image.open(io.BytesIO(self.http.get(link).content)).load()
        assert len(answer["output"]) == (end == "succeeded")


ENDS = {"succeeded", "failed", "cancelled"}


def process_of(owner: str) -> str:
    """The stack's name of the process that an attempt's owner names."""
    return owner.partition(":")[0].removesuffix(f"-{socket.gethostname()}")


def until(condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Return when it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


@contextmanager
def site() -> Iterator[Site]:
    """A customer's web server."""
    hooks: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
    let_go, asked = threading.Event(), threading.Event()

    def answer(request: Request) -> Reply:
        if request.method == "POST":
            hooks.put((request.headers["webhook-id"], json.loads(request.body)))
            return Reply(204)
        if request.path == "/held.png":
            asked.set()
            let_go.wait(SECONDS)
        return Reply(200, photo())

    with http_server(answer) as server:
        yield Site(server, hooks, let_go, asked)
        let_go.set()


@contextmanager
def scene(data: Path, *, workers: tuple[str, ...] = WORKERS, **settings: str) -> Iterator[Scene]:
    """The service, ready; `settings` go over the quick ones."""
    for folder in ("valkey", "s3", "stack"):
        (data / folder).mkdir()
    with (
        valkey(data / "valkey") as redis_server,
        nanio(data / "s3") as s3_server,
        proxy(redis_server.port) as redis_link,
        proxy(s3_server.port) as s3_link,
        site() as customers,
        Redis.from_url(redis_server.url, decode_responses=True) as redis,
    ):
        env = {
            **QUICK,
            "IMG2IMG_OUTBOUND_ALLOW": "127.0.0.1",
            "IMG2IMG_REDIS_URL": f"redis://127.0.0.1:{redis_link.port}/0",
            "IMG2IMG_S3_ENDPOINT": f"http://127.0.0.1:{s3_link.port}",
            "IMG2IMG_S3_ACCESS_KEY": s3_server.access_key,
            "IMG2IMG_S3_SECRET_KEY": s3_server.secret_key,
            **settings,
        }
        processes = (*workers, "courier", "api")
        with (
            Stack(data / "stack", port=0, env=env, processes=processes) as stack,
            httpx.Client(base_url=stack.url, timeout=30) as http,
        ):
            yield Scene(stack, redis, redis_server, redis_link, s3_server, s3_link, customers, http)
