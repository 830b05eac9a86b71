"""The load generator: which answers are whole, and that each request gets its own."""

import socketserver
import threading
from collections.abc import Iterator

import pytest

from infra.bench.arrivals import poisson_times
from infra.bench.load import closed_loop, is_whole, open_loop


class Echo(socketserver.StreamRequestHandler):
    """Answers each line with itself, its body after its head."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(line))
            self.wfile.write(line)


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that echoes."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


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

    answered = open_loop(echo, requests, poisson_times(5000, 10, seed=1), clients=1)

    assert [body(answer) for answer, _ in answered] == requests
    assert all(seconds > 0 for _, seconds in answered)
