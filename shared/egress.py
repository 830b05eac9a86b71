"""The only way out to an address that a client gave: resolved once, checked, dialled as checked."""

import asyncio
import email.utils
import ssl
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Self

import httpcore
import httpx

from shared.egress_guard import Guard, OutboundError, Refused, check_url, port_of
from shared.egress_network import GuardedNetwork, Resolve, system_resolve
from shared.images import MAX_BYTES

__all__ = ["Answer", "FetchFailed", "Guard", "Outbound", "OutboundError", "Refused", "check_url"]

try:
    USER_AGENT = f"img2img/{version('img2img')}"
except PackageNotFoundError:  # run from a checkout
    USER_AGENT = "img2img/dev"

# httpcore asks for it with every lock it takes, and where it is missing Python searches the disk.
if find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment]

MAX_ANSWER = 4 * 2**10
"""Bytes of a webhook's answer that are read, and dropped."""
CONNECT_SECONDS = 3.0
REDIRECTS = (301, 302, 303, 307, 308)


class FetchFailed(OutboundError):
    """The address was tried, and did not give what was asked for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a webhook's receiver said: the HTTP status, and for how many seconds to stay away."""

    status: int
    retry_after: float | None


class Outbound:
    """Downloads and posts under a guard, over httpcore itself: one connection for each request.

    A full client would bring cookies, the environment's proxies, netrc, decoding and redirects,
    each to be turned off; here they do not exist. Belongs to one event loop.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        resolve: Resolve = system_resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = guard
        outside = network or httpcore.AnyIOBackend()
        self._network = GuardedNetwork(guard, resolve, outside)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls or _public_authorities(),
            proxy=_proxy(guard.proxy) if guard.proxy else None,
            network_backend=outside if guard.proxy else self._network,
            max_connections=None,
            max_keepalive_connections=0,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.aclose()
        self._network.close()

    async def download(
        self, url: str, *, limit_bytes: int = MAX_BYTES, seconds: float = 15, redirects: int = 3
    ) -> bytes:
        """The body of a 200 answer, within `seconds`. Raises `Refused` and `FetchFailed`."""
        async with _deadline(seconds):
            for _ in range(redirects + 1):
                asked = httpx.URL(check_url(url, self._guard))
                async with self._send("GET", asked, {"Accept": "image/*"}) as response:
                    if response.status not in REDIRECTS:
                        return await _read_image(response, limit_bytes)
                    url = _redirect(asked, httpx.Headers(response.headers))
        raise FetchFailed("too many redirects")

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        seconds: float = 15,
        connect: float = CONNECT_SECONDS,
    ) -> Answer:
        """Post, and follow no redirect: every status is an answer. Raises `Refused`, `FetchFailed`.

        `seconds` is for everything, `connect` for each address that is dialled.
        """
        async with _deadline(seconds):
            asked = httpx.URL(check_url(url, self._guard))
            async with self._send("POST", asked, headers, body, connect) as response:
                read = 0
                async for chunk in response.aiter_stream():
                    read += len(chunk)
                    if read >= MAX_ANSWER:
                        break
                return Answer(response.status, _retry_after(httpx.Headers(response.headers)))

    @asynccontextmanager
    async def _send(
        self,
        method: str,
        url: httpx.URL,
        headers: Mapping[str, str],
        body: bytes | None = None,
        connect: float = CONNECT_SECONDS,
    ) -> AsyncIterator[httpcore.Response]:
        sent = httpx.Headers({"Host": url.netloc.decode(), "User-Agent": USER_AGENT})
        sent.update(headers)
        sent.update({"Accept-Encoding": "identity", "Connection": "close"})
        async with self._pool.stream(
            method,
            # In parts: no second parser shall read the URL differently from the one that checked.
            httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=port_of(url), target=url.raw_path
            ),
            headers=sent.raw,
            content=body,
            extensions={"timeout": {"connect": connect}},
        ) as response:
            yield response


async def _read_image(response: httpcore.Response, limit_bytes: int) -> bytes:
    headers = httpx.Headers(response.headers)
    if response.status != HTTPStatus.OK:
        raise FetchFailed(f"HTTP {response.status}")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise FetchFailed("compressed answer")
    if int(headers.get("content-length", 0)) > limit_bytes:
        raise FetchFailed("too large")
    body = bytearray()
    async for chunk in response.aiter_stream():
        body += chunk
        if len(body) > limit_bytes:
            raise FetchFailed("too large")
    return bytes(body)


def _redirect(asked: httpx.URL, headers: httpx.Headers) -> str:
    try:
        target = asked.join(headers["location"])
    except (KeyError, httpx.InvalidURL):
        raise FetchFailed("broken answer") from None
    if asked.scheme == "https" and target.scheme == "http":
        raise Refused("redirect from https to http")
    return str(target)


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds, of both forms of the header: a number and a date."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        due = email.utils.parsedate_to_datetime(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (due - datetime.now(UTC)).total_seconds())


@asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    """At most so many seconds, and no foreign error, which might name an internal address."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (TimeoutError, httpcore.TimeoutException):
        raise FetchFailed("timed out") from None
    except (httpcore.ReadError, httpcore.WriteError, httpcore.ProtocolError):
        raise FetchFailed("broken answer") from None
    except (httpcore.ConnectError, httpcore.ProxyError, OSError, UnicodeError):
        # The resolver's are the last two.
        raise FetchFailed("could not connect") from None


def _proxy(url: str) -> httpcore.Proxy:
    given = httpx.Proxy(url)
    return httpcore.Proxy(str(given.url), given.raw_auth)


@cache
def _public_authorities() -> ssl.SSLContext:
    """certifi's, or those of the file that SSL_CERT_FILE names."""
    return httpx.create_ssl_context()
