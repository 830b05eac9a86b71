"""Secrets with names of their own are put into the whole service; then every place is searched."""

import base64
import json
import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from redis import Redis

from infra.local import Stack
from shared.webhooks import new_secret
from tests.processes import until
from tests.servers import Reply, free_port, http_server, valkey

KEY = f"canary-key-{secrets.token_hex(8)}"
PASSWORD = f"canary-password-{secrets.token_hex(8)}"
PEPPER = f"canary-pepper-{secrets.token_hex(8)}"
HOOK_SECRET = new_secret()
TOKEN = f"canary-token-{secrets.token_hex(8)}"
"""In addresses that the client gives."""
PROMPT = f"canary prompt {secrets.token_hex(8)}"
WAIT = {"Prefer": "wait=50"}
PROCESSES = ("s3", "simulated", "courier", "api")
IMAGE = base64.b64encode(Path("infra/demo/astronaut.jpg").read_bytes()).decode()


class Service:
    """The whole of it, and everything that it says."""

    def __init__(self, stack: Stack, http: httpx.Client, hooks: str, metrics: list[int]) -> None:
        self.stack, self.http, self.hooks, self.metrics = stack, http, hooks, metrics
        self.errors: list[str] = []

    def ask(self, path: str, status: int, *, key: str = KEY, **options) -> httpx.Response:
        """An answer; of errors the text is kept."""
        headers = {"key": key} | options.pop("headers", {})
        answer = self.http.post(path, headers=headers, **options)
        assert answer.status_code == status, answer.text
        if '"error' in answer.text or '"failed"' in answer.text:
            self.errors.append(answer.text)
        return answer

    def paint(self, status: int = 200, **fields) -> dict:
        """An image-to-image request."""
        body = {"key": KEY, "prompt": PROMPT, "init_image": IMAGE, "width": 64, "height": 64}
        answer = self.ask("/api/v3/img2img", status, json=body | fields, headers=WAIT)
        return answer.json()

    def counted(self) -> str:
        """Every process's metrics."""
        ports = [self.stack.url.rpartition(":")[2], *map(str, self.metrics)]
        return "".join(httpx.get(f"http://127.0.0.1:{port}/metrics").text for port in ports)

    def logged(self) -> str:
        """Every process's log."""
        return "".join(child.log.read_text() for child in self.stack.processes.values())


@pytest.fixture
def receiver() -> Iterator:
    """Refuses the first webhook."""
    answers = iter([Reply(500)])
    with http_server(lambda _: next(answers, Reply(204))) as server:
        yield server


@pytest.fixture
def redis(tmp_path) -> Iterator:
    with valkey(tmp_path) as server:
        with closing(Redis.from_url(server.url)) as client:
            client.config_set("requirepass", PASSWORD)
        server.url = f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"
        yield server


def test_no_secret_is_anywhere_but_where_it_belongs(redis, receiver, tmp_path):
    metrics = [free_port(), free_port()]
    keys = tmp_path / "keys.json"
    entry = {"tenant": "canary", "key": KEY, "webhook_secret": HOOK_SECRET}
    keys.write_text(json.dumps([entry | {"scopes": ["submit", "read", "admin"]}]))
    settings = {
        "IMG2IMG_REDIS_URL": redis.url,
        "IMG2IMG_API_KEYS": str(keys),
        "IMG2IMG_KEY_PEPPER": PEPPER,
        "IMG2IMG_METRICS_PORT": str(metrics[0]),
        "IMG2IMG_COURIER_METRICS_PORT": str(metrics[1]),
        "IMG2IMG_OUTBOUND_ALLOW": "127.0.0.1",
        "IMG2IMG_STEP_TIME": "0.001",
        "IMG2IMG_RETRY_DELAY": "0",
        "IMG2IMG_LOG_LEVEL": "DEBUG",
    }
    with (
        Stack(tmp_path / "stack", port=0, env=settings, processes=PROCESSES) as stack,
        httpx.Client(base_url=stack.url, timeout=60) as http,
    ):
        service = Service(stack, http, receiver.url, metrics)
        made = work(service)
        counted = service.counted()
        store = contents(redis.url)
        redis.kill()  # so that everyone says that it is away
        service.ask("/api/v3/text2img", 503, json={"prompt": PROMPT})
        service.ask("/v1/text2img", 503, key=made, json={"prompt": PROMPT})
        logged = service.logged()
        s3_secret = stack.settings_env["IMG2IMG_S3_SECRET_KEY"]

    hidden = [
        KEY,
        made,
        PASSWORD,
        PEPPER,
        HOOK_SECRET,
        HOOK_SECRET[6:],
        s3_secret,
    ]
    assert len(service.errors) > 10
    assert "img2img_" in counted
    assert '"level": "debug"' in logged
    assert receiver.requests
    theirs = [PROMPT, IMAGE[:200]]
    assert found([*hidden, TOKEN, *theirs], logged) == []
    assert found([*hidden, TOKEN, *theirs], counted) == []
    assert found([*hidden, TOKEN], "".join(service.errors)) == []
    for kept in (store, appended(tmp_path)):
        assert PROMPT in kept, "or it was not searched"
        assert found([*hidden, IMAGE[:200]], kept) == []


def found(secret: list[str], text: str) -> list[str]:
    return [one for one in secret if one in text]


def work(service: Service) -> str:
    """Successes, failures and refusals of every kind; a key that the service made."""
    asked = {"tenant": "made", "scopes": ["submit", "read"]}
    made = service.ask("/v1/admin/keys", 201, json=asked, headers={"key": KEY}).json()
    done = service.paint(webhook=f"{service.hooks}/hook?token={TOKEN}")
    assert service.ask(f"/api/v3/fetch/{done['id']}", 200, json={"key": KEY}).json()
    service.ask("/v1/text2img", 200, key=made["key"], json={"prompt": PROMPT}, headers=WAIT)
    assert service.paint(prompt=f"{PROMPT} raise@1")["status"] == "failed"
    gone = f"{service.hooks.replace('http://', f'http://u:{TOKEN}@')}/gone?token={TOKEN}"
    service.paint(400, init_image=gone)
    service.paint(init_image=f"http://127.0.0.1:{free_port()}/x?token={TOKEN}")
    service.paint(400, strength=f"{PROMPT}")
    service.paint(400, init_image=f"http://10.0.0.1/x?token={TOKEN}")
    service.paint(400, lora_model="missing")
    service.ask("/api/v3/img2img", 400, content=f'{{"key": "{KEY}", "prompt": "{PROMPT}"')
    service.ask("/api/v3/img2img", 401, json={"key": f"{KEY}x", "prompt": PROMPT})
    service.ask("/api/v6/images/text2img", 401, key=made["key"][:-1], json={"prompt": PROMPT})
    service.ask(f"/api/v3/fetch/1?key={KEY}", 200)
    service.ask("/v1/admin/tenants", 405, key=KEY)
    service.ask("/v1/admin/keys", 403, key=made["key"], json=asked)
    service.ask("/v1/text2img", 400, json={"prompt": [PROMPT], "key": KEY})
    service.ask("/v1/nothing", 404, json={"prompt": PROMPT})
    work_otherwise(service, made["key"])
    service.http.delete(f"/v1/admin/keys/{made['id']}", headers={"key": KEY})
    return made["key"]


def work_otherwise(service: Service, made: str) -> None:
    """By forms, tried out, repeated, followed, replayed, held back; past the framework and not."""
    asked = {"prompt": PROMPT, "init_image": IMAGE, "width": 64, "height": 64, "track_id": PROMPT}
    once = {"Idempotency-Key": PROMPT, **WAIT}
    through = {"X-Long": "x" * 256}
    as_form = {name: str(value) for name, value in asked.items()} | {"key": KEY}
    service.http.post("/api/v3/img2img", data=as_form).raise_for_status()
    parts = {name: (None, value) for name, value in as_form.items()}
    service.http.post("/api/v3/img2img", files=parts, headers=through).raise_for_status()
    service.ask("/v1/img2img", 200, key=made, json=asked | {"dry_run": True})
    hook = f"{service.hooks}/hook?token={TOKEN}"
    done = service.ask("/v1/img2img", 200, json=asked | {"webhook": hook}, headers=once).json()
    service.ask("/v1/img2img", 409, json=asked, headers=once)
    service.ask("/v1/img2img", 409, json=asked, headers=once | through)
    events = service.http.get(f"/v1/jobs/{done['id']}/events", headers={"key": KEY})
    assert "event: succeeded" in events.text
    listed = service.http.get(f"/v1/jobs?track_id={PROMPT}", headers={"key": KEY}).json()
    assert [job["id"] for job in listed["jobs"]].count(done["id"]) == 1
    until(lambda: service.http.get(f"/v1/webhooks?job={done['id']}", headers={"key": KEY})
          .json()["status"] == "delivered")  # fmt: skip
    service.ask(f"/v1/webhooks/{done['id']}/replay", 202)
    service.ask(f"/v1/webhooks/{done['id']}/replay", 409)
    for order in ("pause", "resume"):
        service.ask(f"/v1/admin/{order}", 200)
        service.ask(f"/v1/admin/{order}", 403, key=made)
    size = {"content_type": "image/png", "size": 1}
    service.ask("/v1/uploads", 201, json=size)
    service.ask("/v1/uploads", 400, json=size | {"content_type": PROMPT})
    for wrong in ({"Cancel-After": PROMPT}, {"Idempotency-Key": KEY * 20}):
        service.ask("/v1/img2img", 400, json=asked, headers=wrong)


def contents(url: str) -> str:
    """All keys and values."""
    with closing(Redis.from_url(url, decode_responses=True)) as client:
        readers = {
            "string": client.get,
            "hash": client.hgetall,
            "set": client.smembers,
            "list": lambda name: client.lrange(name, 0, -1),
            "zset": lambda name: client.zrange(name, 0, -1),
            "stream": client.xrange,
        }
        return str([(name, readers[client.type(name)](name)) for name in client.scan_iter()])


def appended(folder: Path) -> str:
    """What Redis ever wrote down."""
    files = (folder / "appendonlydir").iterdir()
    return "".join(path.read_text(errors="replace") for path in files)
