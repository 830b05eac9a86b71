"""A TCP proxy that makes bad weather: late, slow, in slices, silent, half closed, cut, refused."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

HOST = "127.0.0.1"
LOOK_SECONDS = 0.05
"""How soon a silent link speaks again."""


@dataclass(frozen=True)
class Weather:
    """What a link does to each piece of data that passes; changes hold for open connections too."""

    latency: float = 0.0
    """Seconds before each piece."""
    rate: float = float("inf")
    """Bytes a second."""
    piece: int = 65536
    """Bytes at most that are passed on together."""
    reset_after: int | None = None
    """Bytes in one direction, after which the connection is reset."""
    silent: bool = False
    """Nothing passes, and nobody is told."""
    half_closed: bool = False
    """The client's side of a connection is shut at its next piece; the other stays open."""
    refused: bool = False
    """A new connection is closed at once."""


FAIR = Weather()


@dataclass
class Link:
    """One listening port before one server; set `weather` from any thread."""

    name: str
    port: int = 0
    upstream: int = 0
    weather: Weather = FAIR
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass data both ways until both ends are done."""
        if self.weather.refused:
            writer.transport.abort()
            return
        self.open.add(writer)
        to_server = None
        try:
            from_server, to_server = await asyncio.open_connection(HOST, self.upstream)
            await asyncio.gather(
                self._pass(reader, to_server, is_request=True),
                self._pass(from_server, writer, is_request=False),
            )
        except OSError:
            pass
        finally:
            self.open.discard(writer)
            writer.transport.abort()
            if to_server:
                to_server.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool
    ) -> None:
        passed = 0
        while data := await reader.read(self.weather.piece):
            while self.weather.silent:
                await asyncio.sleep(LOOK_SECONDS)
            weather = self.weather
            if wait := weather.latency + len(data) / weather.rate:
                await asyncio.sleep(wait)
            passed += len(data)
            if weather.reset_after is not None and passed > weather.reset_after:
                raise ConnectionResetError
            if weather.half_closed and is_request:
                break
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    def cut(self) -> None:
        """Reset every open connection; to be called in the proxy's own loop."""
        for writer in list(self.open):
            writer.transport.abort()


class Proxy:
    """Links, served by one thread."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.links = {name: Link(name) for name in names}
        self._loop = asyncio.new_event_loop()

    def cut(self, name: str) -> None:
        """Reset what is open on a link."""
        self._loop.call_soon_threadsafe(self.links[name].cut)

    async def listen(self, ready: threading.Event, stop: asyncio.Event) -> None:
        """Serve until it is told to stop."""
        servers = []
        for link in self.links.values():
            servers.append(await asyncio.start_server(link.serve, HOST, 0))
            link.port = servers[-1].sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        for server in servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def proxy(*names: str) -> Iterator[Proxy]:
    """Links that listen; where each leads is set before its first connection."""
    made, ready, stop = Proxy(names), threading.Event(), asyncio.Event()
    loop = made._loop  # noqa: SLF001 - its own maker
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(made.listen(ready, stop)), name="proxy", daemon=True
    )
    thread.start()
    ready.wait()
    try:
        yield made
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
