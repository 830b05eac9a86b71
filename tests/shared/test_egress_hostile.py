"""Servers that send what none should: bounded in time and memory, for images and webhooks."""

import asyncio
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, repeat

import pytest

from shared.egress import Outbound, OutboundError
from tests.shared.internet import ALLOW_LOOPBACK

SECONDS = 0.5
MOST_MEMORY = 40 * 2**20
"""An image of 12 MiB and its copy fit; what these servers would send does not."""
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

HOSTILE = {
    "says nothing": lambda: iter(()),
    "drips its first line": lambda: _drip(OK),
    "drips headers for ever": lambda: chain([OK], _drip(b"X: y\r\n")),
    "sends headers for ever": lambda: chain([OK], repeat(b"X-Filler: " + b"x" * 5000 + b"\r\n")),
    "sends one header for ever": lambda: chain([OK, b"X: "], repeat(b"x" * 2**16)),
    "says wait for ever": lambda: repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "sends a body for ever": lambda: chain([OK, b"\r\n"], repeat(bytes(2**16))),
    "sends chunks for ever": lambda: chain(
        [CHUNKED], repeat(b"10000\r\n" + bytes(2**16) + b"\r\n")
    ),
    "sends tiny chunks for ever": lambda: chain([CHUNKED], repeat(b"1\r\nx\r\n" * 1000)),
    "names a huge chunk": lambda: chain([CHUNKED, b"fffffffff\r\n"], repeat(bytes(2**16))),
    "names a long chunk's size": lambda: chain([CHUNKED], repeat(b"0" * 2**16)),
    "sends noise": lambda: repeat(bytes(range(256)) * 256),
    "speaks another protocol": lambda: iter([b"-ERR unknown command 'GET'\r\n"]),
}


def _drip(line: bytes) -> Iterator[bytes]:
    while True:
        for place in range(len(line)):
            time.sleep(0.02)
            yield line[place : place + 1]


@contextmanager
def hostile(speech: Callable[[], Iterator[bytes]]) -> Iterator[str]:
    """The address of a server that sends this to everybody, and never hangs up."""
    ended = threading.Event()

    def serve() -> None:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.settimeout(5)
            for piece in speech():
                connection.sendall(piece)
            ended.wait(10)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        ended.set()
        thread.join()


@pytest.mark.parametrize("verb", ["download", "post"])
@pytest.mark.parametrize("speech", HOSTILE.values(), ids=HOSTILE)
def test_a_server_costs_little_time_and_memory_whatever_it_sends(speech, verb):
    async def ask(url: str) -> None:
        async with Outbound(ALLOW_LOOPBACK) as outbound:
            with suppress(OutboundError):  # an endless body is no fault of a webhook's receiver
                if verb == "download":
                    await outbound.download(url, seconds=SECONDS)
                else:
                    await outbound.post(url, b"{}", {}, seconds=SECONDS)

    with hostile(speech) as url:
        tracemalloc.start()
        began = time.monotonic()
        asyncio.run(ask(url))
        took = time.monotonic() - began
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert took < SECONDS + 3
    assert peak < MOST_MEMORY
