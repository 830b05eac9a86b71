"""Cases 67 to 76: web servers that do not do as they should."""

import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from tests.e2e.images.case import Case
from tests.servers import Reply, http_server
from tests.worker.gpu.pictures import encoded, photo

PNG = encoded(photo())
BOMB = gzip.compress(bytes(50 * 2**20), 1)
STATUSES = (401, 403, 404, 500)
OUTCOMES = {
    "/too-long": (67, "init_image is damaged"),
    "/too-short": (68, "broken answer"),
    "/endless": (69, "too large"),
    "/bomb": (70, "compressed answer"),
    "/drip": (71, "timed out"),
    "/never": (72, "timed out"),
    "/loop": (73, "too many redirects"),
    "/hop/4": (73, "too many redirects"),
    "/page": (74, "init_image is not a PNG, JPEG or WebP image"),
    **{f"/status/{status}": (75, f"HTTP {status}") for status in STATUSES},
    "/wrong-type": (76, None),
    "/hop/3": (76, None),
}


def cases(url: str) -> Iterator[Case]:
    """One for each page of `misbehaving`."""
    for path, (number, refused) in OUTCOMES.items():
        yield Case(number, path, {"init_image": url + path}, refused)


@contextmanager
def misbehaving() -> Iterator[str]:
    """The address of a server whose pages are named after what they do."""
    ended = threading.Event()
    with http_server(lambda request: _pages(ended)[request.path]()) as server:
        yield server.url
        ended.set()


def _pages(ended: threading.Event) -> dict[str, Callable[[], Reply]]:
    def drip() -> Iterator[bytes]:
        while not ended.wait(0.3):
            yield b"."

    def endless() -> Iterator[bytes]:
        while not ended.is_set():
            yield bytes(2**16)

    def never() -> Reply:
        ended.wait(60)
        return Reply(500)

    jpeg = Reply(body=encoded(photo(), "JPEG"), headers={"Content-Type": "image/png"})
    html = {"Content-Type": "text/html"}
    return {
        "/too-long": lambda: _promising(10, [PNG, bytes(5 * 2**20)]),
        "/too-short": lambda: _promising(2**20, [PNG]),
        "/endless": lambda: Reply(body=endless()),
        "/bomb": lambda: Reply(body=BOMB, headers={"Content-Encoding": "gzip"}),
        "/drip": lambda: Reply(body=drip()),
        "/never": never,
        "/loop": lambda: _redirect("/loop"),
        **{f"/hop/{left}": partial(_redirect, f"/hop/{left - 1}") for left in (1, 2, 3, 4)},
        "/page": lambda: Reply(body=b"<html>Not found</html>", headers=html),
        **{f"/status/{status}": partial(Reply, status, PNG) for status in STATUSES},
        "/wrong-type": lambda: jpeg,
        "/hop/0": lambda: jpeg,
    }


def _promising(length: int, body: list[bytes]) -> Reply:
    return Reply(body=body, headers={"Content-Length": str(length)})


def _redirect(to: str) -> Reply:
    return Reply(302, headers={"Location": to})
