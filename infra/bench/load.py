"""A load generator that costs little: prepared requests, over connections that are kept."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from time import perf_counter as clock
from typing import Any, TypeVar, cast

import uvloop

HOST = "127.0.0.1"
LENGTH = b"content-length: "
T = TypeVar("T")


class Connection(asyncio.Protocol):
    """One request at a time."""

    _transport: asyncio.WriteTransport

    def __init__(self) -> None:
        self._came = b""
        self._answer: asyncio.Future[bytes] = asyncio.Future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._came += data
        if is_whole(self._came):
            self._answer.set_result(self._came)

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio."""
        if not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("the server hung up"))

    async def ask(self, request: bytes) -> bytes:
        """The whole answer, head included."""
        self._came, self._answer = b"", asyncio.Future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        self._answer.cancel()
        self._transport.close()


def is_whole(answer: bytes) -> bool:
    """Whether nothing more of an answer is to come; it must say its length."""
    head, end, body = answer.partition(b"\r\n\r\n")
    return bool(end) and len(body) == int(head.partition(LENGTH)[2].partition(b"\r\n")[0])


def closed_loop(port: int, requests: Sequence[bytes], *, clients: int) -> list[bytes]:
    """The answers, where each client asks again as soon as it has one."""

    async def client(connection: Connection, share: Sequence[bytes]) -> list[bytes]:
        return [await connection.ask(request) for request in share]

    async def everyone() -> list[bytes]:
        async with _connected(port, clients) as connections:
            shares = (requests[first::clients] for first in range(clients))
            answers = await asyncio.gather(*map(client, connections, shares))
        return [answer for share in answers for answer in share]

    return _run(everyone())


def open_loop(
    port: int, requests: Sequence[bytes], times: Sequence[float], *, clients: int
) -> list[tuple[bytes, float]]:
    """Answers, and the seconds to them since the requests were due, each at its time from now.

    Who comes while all connections are taken waits for one, and that counts too.
    """

    async def send(
        free: asyncio.Queue[Connection], request: bytes, due: float
    ) -> tuple[bytes, float]:
        connection = await free.get()
        answer = await connection.ask(request)
        free.put_nowait(connection)
        return answer, clock() - due

    async def everyone() -> list[tuple[bytes, float]]:
        async with _connected(port, clients) as connections, asyncio.TaskGroup() as sending:
            free: asyncio.Queue[Connection] = asyncio.Queue()
            for connection in connections:
                free.put_nowait(connection)
            began, sent = clock(), []
            for request, at in zip(requests, times, strict=True):
                while (early := began + at - clock()) > 0:  # noqa: ASYNC110  # a timer, early
                    await asyncio.sleep(early)
                sent.append(sending.create_task(send(free, request, began + at)))
            return await asyncio.gather(*sent)

    return _run(everyone())


@asynccontextmanager
async def _connected(port: int, count: int) -> AsyncIterator[list[Connection]]:
    loop, connections = asyncio.get_running_loop(), []
    try:
        for _ in range(count):
            _, connection = await loop.create_connection(Connection, HOST, port)
            connections.append(connection)
        yield connections
    finally:
        for connection in connections:
            connection.close()


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
