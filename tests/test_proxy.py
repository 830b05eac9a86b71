"""The weather on a link is what its name says, and what is held back waits."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.proxy import FAIR, Weather, proxy
from tests.servers import Reply, http_server

BODY = bytes(20_000)


@pytest.fixture
def link():
    with http_server(lambda _: Reply(200, BODY)) as server, proxy(server.port) as link:
        yield link


def ask(link, seconds=5.0):
    """All that comes back before an end, a reset or the time is up."""
    got = b""
    address = ("127.0.0.1", link.port)
    with suppress(OSError), socket.create_connection(address, timeout=seconds) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while data := connection.recv(65536):
            got += data
    return got


@pytest.mark.parametrize("weather", [Weather(), Weather(piece=700), Weather(latency=0.05)])
def test_all_of_it_arrives(link, weather):
    link.weather = weather
    assert ask(link).endswith(BODY)


def test_a_slow_link_takes_its_time(link):
    link.weather = Weather(rate=100_000)
    began = time.monotonic()
    assert ask(link).endswith(BODY)
    assert time.monotonic() - began > len(BODY) / 100_000


@pytest.mark.parametrize(
    "weather", [Weather(refused=True), Weather(half_closed=True), Weather(silent=True)]
)
def test_nothing_arrives(link, weather):
    link.weather = weather
    assert ask(link, seconds=0.5) == b""


def test_a_connection_is_reset_in_the_middle(link):
    link.weather = Weather(piece=1000, reset_after=5000)
    assert 0 < len(ask(link)) <= 5000


def test_a_cut_ends_what_is_open_and_the_next_connection_works(link):
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as connection:
        connection.sendall(b"GET")
        while not link.open:
            time.sleep(0.01)
        link.cut()
        with suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert ask(link).endswith(BODY)


def test_a_silent_link_speaks_again(link):
    link.weather = Weather(silent=True)
    with socket.create_connection(("127.0.0.1", link.port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        link.weather = FAIR
        assert connection.recv(100)


@pytest.mark.parametrize("answer", [False, True])
def test_what_is_held_back_arrives_when_it_is_released(link, answer):
    held = link.hold(b"GET", answer=answer)
    with ThreadPoolExecutor() as threads:
        asked = threads.submit(ask, link)
        assert held.arrived.wait(5)
        assert held.data.startswith(b"GET / HTTP/1.0")
        assert ask(link).endswith(BODY), "only one is held back"
        held.released.set()
        assert asked.result().endswith(BODY)


@pytest.mark.parametrize("answer", [False, True])
def test_what_is_dropped_never_arrives(link, answer):
    held = link.hold(b"GET", answer=answer)
    held.drop()

    assert ask(link) == b""
    assert ask(link).endswith(BODY)


def test_a_request_on_a_connection_that_is_cut_is_not_passed_on_when_it_is_released():
    arrived = []
    with (
        http_server(lambda request: arrived.append(request) or Reply(200, BODY)) as server,
        proxy(server.port) as link,
    ):
        held = link.hold(b"GET")
        with ThreadPoolExecutor() as threads:
            asked = threads.submit(ask, link)
            assert held.arrived.wait(5)
            link.cut()
            assert asked.result() == b""
            held.released.set()
            assert ask(link).endswith(BODY)

    assert len(arrived) == 1
