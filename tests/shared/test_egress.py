import gzip
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from threading import Event

import pytest

from tests.servers import HttpServer, Reply, Request, http_server
from tests.shared.internet import (
    PIXELS,
    PUBLIC,
    Internet,
    failure,
    fetch,
)


@pytest.fixture
def image_host() -> Iterator[HttpServer]:
    with http_server(lambda request: Reply(body=PIXELS)) as server:
        yield server


def test_a_library_that_is_installed_can_still_be_imported(tmp_path):
    (tmp_path / "sniffio.py").touch()
    path = os.pathsep.join([str(tmp_path), *sys.path])

    subprocess.run(
        [sys.executable, "-c", "import shared.egress, sniffio"],
        env={"PYTHONPATH": path},
        check=True,
    )


def test_redirects_are_followed_until_there_are_too_many():
    def count_down(request: Request) -> Reply:
        left = int(request.path[1:])
        return Reply(307, headers={"Location": f"/{left - 1}"}) if left else Reply(body=PIXELS)

    with http_server(count_down) as server:
        assert fetch("http://good.test/3", Internet(server)) == PIXELS
        assert failure("http://good.test/4", Internet(server)) == "too many redirects"


def test_an_endless_body_is_cut_at_the_limit():
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(2**16)

    with http_server(lambda request: Reply(body=endless())) as server:
        reason = failure("http://good.test/", Internet(server), limit_bytes=2**20)

    assert reason == "too large"
    assert sent < 1000


def test_a_body_of_exactly_the_limit_is_taken(image_host: HttpServer):
    assert fetch("http://good.test/", Internet(image_host), limit_bytes=len(PIXELS)) == PIXELS
    assert failure("http://good.test/", Internet(image_host), limit_bytes=259) == "too large"


def test_a_declared_length_above_the_limit_is_refused_before_the_body():
    hold = Event()

    def never() -> Iterator[bytes]:
        hold.wait(10)
        yield b""

    reply = Reply(body=never(), headers={"Content-Length": str(13 * 2**20)})
    with http_server(lambda request: reply) as server:
        assert failure("http://good.test/", Internet(server)) == "too large"
        hold.set()


def test_a_compressed_body_is_refused_unread():
    bomb = Reply(body=gzip.compress(bytes(2**20)), headers={"Content-Encoding": "gzip"})
    with http_server(lambda request: bomb) as server:
        assert failure("http://good.test/", Internet(server)) == "compressed answer"


def test_a_dripping_body_is_cut_at_the_deadline():
    hold = Event()

    def drip() -> Iterator[bytes]:
        while not hold.wait(0.02):
            yield b"."

    with http_server(lambda request: Reply(body=drip())) as server:
        began = time.monotonic()
        assert failure("http://good.test/", Internet(server), seconds=0.3) == "timed out"
        assert time.monotonic() - began < 2
        hold.set()


def test_a_redirect_loop_of_slow_hops_shares_one_deadline():
    hold = Event()

    def slow(request: Request) -> Reply:
        hold.wait(0.15)
        return Reply(302, headers={"Location": "/"})

    with http_server(slow) as server:
        reason = failure("http://good.test/", Internet(server), seconds=0.3, redirects=100)
        hold.set()

    assert reason == "timed out"


def test_a_server_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        internet = Internet(HttpServer(mute.getsockname()[1], []))

        assert failure("http://good.test/", internet, seconds=0.3) == "timed out"


def test_a_resolver_that_hangs_is_not_waited_for():
    hold = Event()

    def hang(host: str) -> list[str]:
        hold.wait(10)
        return [PUBLIC]

    began = time.monotonic()
    try:
        assert failure("http://good.test/", resolve=hang, seconds=0.3) == "timed out"
        assert time.monotonic() - began < 2
    finally:
        hold.set()


@pytest.mark.parametrize("status", [204, 206, 401, 404, 500])
def test_any_status_but_200_is_named(status: int):
    with http_server(lambda request: Reply(status)) as server:
        assert failure("http://good.test/", Internet(server)) == f"HTTP {status}"


@pytest.mark.parametrize(
    ("reply", "body"),
    [
        (Reply(body=[b"1234567890123"], headers={"Content-Length": "10"}), b"1234567890"),
        (Reply(body=[b"12345"], headers={"Content-Length": "10"}), None),
        (Reply(body=[b"12345"], headers={"Content-Length": "-1"}), None),
        (Reply(body=[b"12345"], headers={"Content-Length": "9" * 5000}), None),
        (Reply(body=[b"zz\r\n"], headers={"Transfer-Encoding": "chunked"}), None),
        (Reply(headers={f"X-{n}": "x" * 60_000 for n in range(5)}), None),
    ],
    ids=["too long", "too short", "negative", "huge", "bad chunks", "endless headers"],
)
def test_a_body_that_breaks_its_promise_is_no_image(reply: Reply, body: bytes | None):
    with http_server(lambda request: reply) as server:
        if body is None:
            assert failure("http://good.test/", Internet(server)) == "broken answer"
        else:
            assert fetch("http://good.test/", Internet(server)) == body


def test_unknown_names_and_closed_ports_look_the_same():
    assert failure("http://unknown.test/", Internet()) == "could not connect"
    assert failure("http://good.test/", Internet()) == "could not connect"
    assert failure(f"http://{'a' * 64}.test/", Internet(), resolve=idna) == "could not connect"


def idna(host: str) -> list[str]:
    return [host.encode("idna").decode()]


def test_no_proxy_of_the_environment_is_used(
    image_host: HttpServer, monkeypatch: pytest.MonkeyPatch
):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert fetch("http://good.test/", Internet(image_host)) == PIXELS
