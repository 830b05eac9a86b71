"""The weather on a link is what its name says."""

import socket
import time
from contextlib import suppress

import pytest

from tests.chaos.proxy import Weather, proxy
from tests.servers import Reply, http_server

BODY = bytes(20_000)


@pytest.fixture
def link():
    with http_server(lambda _: Reply(200, BODY)) as server, proxy("to the server") as made:
        link = made.links["to the server"]
        link.upstream = server.port
        yield made, link


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
    link[1].weather = weather
    assert ask(link[1]).endswith(BODY)


def test_a_slow_link_takes_its_time(link):
    link[1].weather = Weather(rate=100_000)
    began = time.monotonic()
    assert ask(link[1]).endswith(BODY)
    assert time.monotonic() - began > len(BODY) / 100_000


@pytest.mark.parametrize(
    "weather", [Weather(refused=True), Weather(half_closed=True), Weather(silent=True)]
)
def test_nothing_arrives(link, weather):
    link[1].weather = weather
    assert ask(link[1], seconds=0.5) == b""


def test_a_connection_is_reset_in_the_middle(link):
    link[1].weather = Weather(piece=1000, reset_after=5000)
    assert 0 < len(ask(link[1])) <= 5000


def test_a_cut_ends_what_is_open_and_the_next_connection_works(link):
    made, one = link
    with socket.create_connection(("127.0.0.1", one.port), timeout=5) as connection:
        connection.sendall(b"GET")
        while not one.open:
            time.sleep(0.01)
        made.cut(one.name)
        with suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert ask(one).endswith(BODY)


def test_a_silent_link_speaks_again(link):
    link[1].weather = Weather(silent=True)
    with socket.create_connection(("127.0.0.1", link[1].port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        link[1].weather = Weather()
        assert connection.recv(100)
