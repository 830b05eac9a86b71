"""An outer proxy that decides where to: what is left to us, and what it is asked."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from shared.config import Settings
from shared.egress import Guard, Outbound, OutboundError, Refused, check_url
from tests.certificates import self_signed
from tests.servers import Reply, http_server
from tests.shared.internet import PIXELS

INSIDE = "http://10.0.0.1:6379/a.png?b=c"


def behind(port: int, credentials: str = "") -> Guard:
    return Guard.from_settings(Settings(egress_proxy=f"http://{credentials}127.0.0.1:{port}"))


async def download(url: str, guard: Guard, tls: ssl.SSLContext | None = None) -> bytes:
    def resolve(host: str) -> list[str]:
        raise AssertionError("names are the proxy's business")

    async with Outbound(guard, resolve=resolve, tls=tls) as outbound:
        return await outbound.download(url)


def test_a_proxy_is_asked_for_what_the_guard_would_refuse():
    with http_server(lambda request: Reply(body=PIXELS)) as proxy:
        guard = behind(proxy.port, "img2img:hunter2@")

        assert check_url(INSIDE, guard) == INSIDE
        assert asyncio.run(download(INSIDE, guard)) == PIXELS

    [request] = proxy.requests
    credentials = base64.b64encode(b"img2img:hunter2").decode()
    assert request.path == INSIDE
    assert request.headers["host"] == "10.0.0.1:6379"
    assert request.headers["proxy-authorization"] == f"Basic {credentials}"


def test_a_proxy_makes_tunnels_for_https_and_the_name_is_still_verified(tmp_path):
    certificate = self_signed(tmp_path, "good.test")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    trust = ssl.create_default_context(cafile=certificate)

    async def run(port: int) -> list[str]:
        async with tunnel_to(port) as (proxy_port, heads):
            guard = behind(proxy_port)
            assert await download("https://good.test/", guard, trust) == PIXELS
            with pytest.raises(OutboundError, match="could not connect"):
                await download("https://other.test/", guard, trust)
        return heads

    with http_server(lambda request: Reply(body=PIXELS), tls=context) as server:
        heads = asyncio.run(run(server.port))

    assert heads == ["CONNECT good.test:443 HTTP/1.1", "CONNECT other.test:443 HTTP/1.1"]


@asynccontextmanager
async def tunnel_to(port: int) -> AsyncIterator[tuple[int, list[str]]]:
    """A proxy all of whose tunnels lead to a port here, and what it was asked for."""
    heads: list[str] = []
    tunnels: list[asyncio.Task[None]] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while data := await reader.read(2**16):
                writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().partition("\r\n")[0])
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        pumps = pump(reader, inner_writer), pump(inner_reader, writer)
        tunnels.extend(asyncio.create_task(each) for each in pumps)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], heads
        await asyncio.gather(*tunnels, return_exceptions=True)


def test_a_proxy_that_says_no_is_no_way_out():
    with http_server(lambda request: Reply(403)) as proxy:
        for url, reason in (("http://good.test/", "HTTP 403"), ("https://good.test/", "could not")):
            with pytest.raises(OutboundError, match=reason):
                asyncio.run(download(url, behind(proxy.port)))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://good.test/",
        "http://user@good.test/",
        "http://good.test:0/",
        "http://a b/",
        "http:///",
        "http://good.test/" + "a" * 2048,
    ],
)
def test_what_is_wrong_with_a_url_whoever_asks_is_still_refused(url: str):
    with pytest.raises(Refused):
        check_url(url, behind(1))


def test_a_proxys_password_is_in_no_text():
    guard = behind(1, "img2img:hunter2@")

    assert "hunter2" not in repr(guard) + repr(Settings(egress_proxy="http://a:hunter2@b:1"))
