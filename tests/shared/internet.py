"""An internet for tests of outbound calls: names, addresses, one local server behind them all."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from ipaddress import ip_address

import httpcore
import pytest

from shared.config import Settings
from shared.egress import Guard, Outbound, OutboundError
from shared.egress_guard import is_public
from tests.servers import HttpServer

PUBLIC = "93.184.216.34"
ALLOW_LOOPBACK = Guard.from_settings(Settings(outbound_allow="127.0.0.0/8"))
PIXELS = b"\x89PNG" + bytes(range(256))

PRIVATE_ANSWERS = {
    "loopback.test": ["127.0.0.1"],
    "private.test": ["10.1.2.3"],
    "mixed.test": [PUBLIC, "192.168.0.7"],
    "mixed-families.test": [PUBLIC, "::1"],
    "metadata.test": ["169.254.169.254"],
    "azure.test": ["168.63.129.16"],
    "alibaba.test": ["100.100.100.200"],
    "unspecified.test": ["0.0.0.0"],  # noqa: S104 (an answer)
    "mapped.test": ["::ffff:10.0.0.1"],
    "nat64.test": ["64:ff9b::a00:1"],
    "scoped.test": ["fe80::1%eth0"],
    "multicast.test": ["224.0.0.251"],
    "xn--bcher-kva.test": ["10.0.0.1"],
}


class Internet(httpcore.AsyncNetworkBackend):
    """Public addresses lead to one local server, all others nowhere; every dial is recorded."""

    def __init__(self, server: HttpServer | None = None, dead: Iterable[str] = ()) -> None:
        self.dials: list[tuple[str, int]] = []
        self._server = server
        self._dead = set(dead)

    async def connect_tcp(
        self, host: str, port: int, *_: object, **__: object
    ) -> httpcore.AsyncNetworkStream:
        self.dials.append((host, port))
        if self._server is None or host in self._dead or not is_public(ip_address(host)):
            raise httpcore.ConnectError("nothing there")
        return await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self._server.port)


def answers(host: str) -> list[str]:
    if host in PRIVATE_ANSWERS:
        return PRIVATE_ANSWERS[host]
    if host.endswith("good.test"):
        return [PUBLIC]
    raise socket.gaierror(socket.EAI_NONAME, "no such name")


def fetch(
    url: str,
    internet: Internet | None = None,
    *,
    guard: Guard | None = None,
    resolve: Callable[[str], list[str]] = answers,
    **limits: float,
) -> bytes:
    async def run() -> bytes:
        async with Outbound(guard or Guard(), resolve=resolve, network=internet) as outbound:
            return await outbound.download(url, **limits)  # type: ignore[arg-type]

    return asyncio.run(run())


def failure(*arguments: object, **options: object) -> str:
    with pytest.raises(OutboundError) as failed:
        fetch(*arguments, **options)  # type: ignore[arg-type]
    return failed.value.reason
