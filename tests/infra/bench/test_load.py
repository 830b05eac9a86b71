"""The load generator: which answers are whole, and that each request gets its own."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from infra.bench.load import closed_loop, is_whole, open_loop


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that answers each line with itself, its body after its head."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(line))
            await writer.drain()
            writer.write(line)
        writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield server.sockets[0].getsockname()[1]
    loop.call_soon_threadsafe(server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def test_an_answer_is_whole_when_its_head_and_as_much_as_that_says_have_come():
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: y\r\n\r\n{}"

    assert [is_whole(whole[:cut]) for cut in (5, len(whole) - 2, len(whole) - 1, None)] == [
        False,
        False,
        False,
        True,
    ]


def test_a_closed_loop_gives_each_request_its_own_answer(echo):
    requests = [b"%d\n" % number for number in range(10)]

    assert sorted(map(body, closed_loop(echo, requests, clients=3))) == requests


def test_an_open_loop_gives_the_seconds_since_each_request_was_due(echo):
    requests = [b"%d\n" % number for number in range(10)]

    answered = open_loop(echo, requests, rate=5000, clients=1, seed=1)

    assert [body(answer) for answer, _ in answered] == requests
    assert all(seconds > 0 for _, seconds in answered)
