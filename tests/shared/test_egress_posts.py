import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from threading import Event

import pytest

from shared.egress import FetchFailed, Outbound
from tests.servers import HttpServer, Reply, Request, http_server
from tests.shared.internet import (
    ALLOW_LOOPBACK,
)

HEADERS = {"webhook-id": "msg_1", "user-agent": "img2img/1", "content-type": "application/json"}


def post(server: HttpServer, body: bytes = b"{}", **limits: float) -> tuple[int, float | None]:
    async def run() -> tuple[int, float | None]:
        async with Outbound(ALLOW_LOOPBACK) as outbound:
            answer = await outbound.post(server.url, body, HEADERS, **limits)
            return answer.status, answer.retry_after

    return asyncio.run(run())


def test_a_post_carries_the_body_and_the_headers_as_given():
    with http_server(lambda request: Reply(204)) as server:
        assert post(server, b'{"a": "\xc3\xa9"}') == (204, None)

    [request] = server.requests
    assert (request.method, request.body) == ("POST", b'{"a": "\xc3\xa9"}')
    assert {name: request.headers[name] for name in HEADERS} == HEADERS
    assert request.headers["content-length"] == "11"


def test_a_post_does_not_follow_redirects():
    with http_server(lambda request: Reply(307, headers={"Location": "/next"})) as server:
        assert post(server) == (307, None)

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("120", 120), ("", None), ("soon", None), ("-5", None), ("9" * 5000, 999_999_999)],
)
def test_a_receiver_can_say_when_to_come_back(header: str, seconds: float | None):
    with http_server(lambda request: Reply(503, headers={"Retry-After": header})) as server:
        assert post(server) == (503, seconds)


@pytest.mark.parametrize(("ahead", "least", "most"), [(600, 500, 600), (-600, 0, 0)])
def test_a_receiver_can_say_it_as_a_date(ahead: int, least: float, most: float):
    due = format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)
    with http_server(lambda request: Reply(429, headers={"Retry-After": due})) as server:
        status, seconds = post(server)

    assert status == 429
    assert seconds is not None
    assert least <= seconds <= most


def test_a_long_answer_is_not_read():
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(2**16)

    with http_server(lambda request: Reply(200, body=endless())) as server:
        assert post(server) == (200, None)

    assert sent < 1000


def test_a_dripping_receiver_is_cut_at_the_deadline():
    hold = Event()

    def drip() -> Iterator[bytes]:
        while not hold.wait(0.02):
            yield b"."

    with http_server(lambda request: Reply(body=drip())) as server:
        with pytest.raises(FetchFailed, match="timed out"):
            post(server, seconds=0.3)
        hold.set()


def test_many_posts_share_an_outbound_and_do_not_wait_for_each_other():
    hold = Event()

    def slow_and_fast(request: Request) -> Reply:
        if request.path == "/slow":
            hold.wait(10)
        return Reply(200)

    async def run(url: str) -> int:
        async with Outbound(ALLOW_LOOPBACK) as outbound:
            slow = [asyncio.ensure_future(outbound.post(f"{url}/slow", b"", {})) for _ in range(20)]
            fast = await asyncio.gather(*(outbound.post(url, b"", {}) for _ in range(20)))
            assert not any(task.done() for task in slow)
            hold.set()
            return sum(answer.status == 200 for answer in [*fast, *await asyncio.gather(*slow)])

    with http_server(slow_and_fast) as server:
        assert asyncio.run(run(server.url)) == 40
