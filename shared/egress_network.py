"""Connections to checked addresses: where the guard meets the resolver's answers."""

import asyncio
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import httpcore

from shared.egress_guard import Guard, Refused, literal

RESOLVE_SECONDS = 3.0
RESOLVER_THREADS = 32
MAX_DIALS = 3

Resolve = Callable[[str], list[str]]


def system_resolve(host: str) -> list[str]:
    """Every address of a host, as the system knows them."""
    return [str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses only. It sits below TLS, which keeps verifying the name."""

    def __init__(
        self, guard: Guard, resolve: Resolve, network: httpcore.AsyncNetworkBackend
    ) -> None:
        self._guard = guard
        self._resolve = resolve
        self._network = network
        # The loop's own threads are few: some names that stall would block every other lookup.
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (httpcore's signature)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises `Refused`, and httpcore's errors; `timeout` is for each address, in seconds."""
        addresses = self._guard.check_answers(host, port, await self._answers(host))
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in addresses[:MAX_DIALS]:
            try:
                return await self._network.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def _answers(self, host: str) -> list[str]:
        if address := literal(host):
            return [str(address)]
        async with asyncio.timeout(RESOLVE_SECONDS):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._resolve, host)

    async def connect_unix_socket(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise Refused("address not allowed")

    def close(self) -> None:
        """Let the resolver's threads go; one that hangs is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
