"""Evil addresses in each field that takes one: refused by the door, or never dialled from inside.

The door, the worker's fetch and the courier are real; names and connections are a test's.
"""

import asyncio
import base64
import json
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpcore
import pytest

from shared.errors import BadInput
from shared.webhooks import new_secret
from tests.api.conftest import KEY, PNG
from tests.jobs import RESULT
from tests.ledger import Ledger
from tests.servers import Reply, Request, http_server
from tests.shared.internet import ALLOW_LOOPBACK, PRIVATE_ANSWERS, PUBLIC, Internet
from tests.shared.test_egress_guard import REFUSALS, WRONG_AT_ONCE
from tests.worker.courier.desk import Desk
from worker.courier.config import CourierSettings
from worker.gpu.inputs import fetch_with

pytestmark = pytest.mark.anyio

FIELDS = ("init_image", "mask_image", "webhook")
IMAGE = base64.b64encode(PNG).decode()
HEADERS = {"Authorization": f"Bearer {KEY}"}
WAYS = {
    "public": ("/api/v3/img2img", {}),
    "with a mask": ("/api/v6/images/inpaint", {"model_id": "demo", "mask_image": IMAGE}),
    "v1": ("/v1/img2img", {}),
    "tried out": ("/v1/inpaint", {"mask_image": IMAGE, "dry_run": True}),
}
"""A path, and fields."""
BLANK = ("", " ")
"""In a field that may be left out these are no address."""
TARGETS = {
    "/absolute": "http://127.0.0.1/",
    "/relative": "//127.0.0.1/",
    "/name": "http://loopback.test/",
    "/mixed": "http://mixed.test/",
    "/metadata": "http://169.254.169.254/latest/meta-data/",
    "/mapped": "http://[::ffff:169.254.169.254]/",
    "/number": "http://0x7f.1:8080/",
    "/port": "http://good.test:22/",
    "/credentials": "http://user@good.test/",
    "/scheme": "gopher://good.test/",
    "/file": "file:///etc/passwd",
    "/rebinding": "http://rebinding.test/",
    "/": "http://rebinding.test/",
}
"""Where the pages of the public server lead."""


def evil(field: str) -> list[str]:
    """Addresses that need no resolver to be seen through."""
    return [url for url in WRONG_AT_ONCE if field == "init_image" or url not in BLANK]


def message(body: dict) -> str:
    """What a refusal says, with the fields that it names."""
    return str(body.get("error", body)["message"])


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_the_door_refuses_evil_addresses_and_names_the_field(
    client, request_body, redis, way, field
):
    path, more = way
    good = {"prompt": "a cat", "init_image": request_body["init_image"], **more}
    passed = []
    for url in evil(field):
        body = json.dumps(good | {field: url})  # httpx would stumble over half a pair
        answer = await client.post(path, content=body, headers=HEADERS)
        if answer.status_code != 400 or field not in message(answer.json()):
            passed.append((url, answer.text))

    assert passed == []
    assert len(evil(field)) >= 96
    assert not redis.exists("pools"), "a job was made"


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://img.example.com/api/v3/img2img?key=k", False),
        ("https://IMG.example.com:443", False),
        ("https://img.example.com./api", False),
        ("https://img.example.com#x", False),
        ("{s3}/img2img/generations/a.png", False),
        ("{s3}/img2img-hooks/", True),
        ("https://img.example.com:8443/hook", True),
        ("https://other.example.com/api/v3/img2img", True),
    ],
)
async def test_a_webhook_does_not_lead_back_to_the_service(client, settings, app, url, allowed):
    app.state.door = replace(app.state.door, guard=ALLOW_LOOPBACK)
    body = {"prompt": "a cat", "webhook": url.format(s3=settings.s3_endpoint)}

    answer = await client.post("/v1/text2img", json=body, headers=HEADERS)

    assert answer.status_code == (202 if allowed else 400), answer.text
    if not allowed:
        assert answer.json()["error"]["message"] == (
            "webhook cannot be used: it leads back to this service"
        )


@pytest.fixture
def internet(monkeypatch) -> Iterator[Internet]:
    """Public addresses lead to a server that sends everybody inside; each dial is recorded."""

    def inwards(request: Request) -> Reply:
        return Reply(302, headers={"Location": TARGETS[request.path]})

    lookups: Counter[str] = Counter()
    resolve, dial = socket.getaddrinfo, httpcore.AnyIOBackend.connect_tcp

    def answers(host: str, *arguments, **options):
        if not str(host).endswith(".test"):
            return resolve(host, *arguments, **options)
        lookups[host] += 1
        # The rebinding name is public when it is first asked for.
        late = "127.0.0.1" if lookups[host] > 1 else PUBLIC
        found = PRIVATE_ANSWERS.get(host, [late if "rebinding" in host else PUBLIC])
        return [(None, None, None, "", (address, 0)) for address in found]

    with http_server(inwards) as server:
        internet = Internet(server)

        async def connect(backend, host: str, port: int, *arguments, **options):
            if port == server.port:  # the test's internet itself
                return await dial(backend, host, port, *arguments, **options)
            return await internet.connect_tcp(host, port)

        monkeypatch.setattr(socket, "getaddrinfo", answers)
        monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect)
        yield internet


@pytest.fixture
def desk(redis, settings) -> Desk:
    """A courier that is allowed nothing that a customer's is not."""
    own = CourierSettings(redis_url=settings.redis_url, webhook_secret=new_secret())
    return Desk(Ledger(redis, own), own)


@pytest.fixture
def use(app, attempts, desk) -> Callable[[int, str], str]:
    """What the worker, or the courier, says of the address in a job's field."""

    def say(job_id: int, field: str) -> str:
        attempt = attempts.claim(str(job_id), "1", "worker:1")
        if field == "webhook":
            attempts.succeed(attempt, RESULT)
            desk.deliver_due()
            return str(desk.log(attempt.job)[0])
        fetch = fetch_with(app.state.door.store, app.state.door.guard)
        with pytest.raises(BadInput, match=field) as refused:
            fetch(getattr(attempt.job.params, field), field)
        return refused.value.message

    return say


@pytest.mark.parametrize("field", FIELDS)
async def test_what_the_door_cannot_see_through_is_never_dialled(
    client, request_body, use, internet, field
):
    names = [f"http://{host}/" for host in PRIVATE_ANSWERS]
    redirects = [f"http://good.test{path}" for path in TARGETS]
    said = {}
    for url in names + redirects:
        answer = await client.post("/api/v3/img2img", json=request_body | {field: url})
        assert answer.json()["status"] == "processing", answer.text
        said[url] = await asyncio.to_thread(use, answer.json()["id"], field)

    assert {host for host, _ in internet.dials} == {PUBLIC}
    assert [said[url] for url in names if "address not allowed" not in said[url]] == []
    expected = {"302"} if field == "webhook" else REFUSALS
    unclear = [url for url in redirects if not any(why in said[url] for why in expected)]
    assert {url: said[url] for url in unclear} == {}
