"""A TCP proxy that makes bad weather, as a test says, and holds single pieces of data back."""

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
class Held:
    """A piece that is kept back: the one with the marker, or the answer to it."""

    marker: bytes
    answer: bool
    arrived: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    data: bytes = b""
    """The piece with the marker."""
    dropped: bool = False

    def drop(self) -> None:
        """It never arrives, and the connection ends."""
        self.dropped = True
        self.released.set()

    async def keep(self) -> None:
        """Return when it may pass; raises ConnectionResetError when it never does."""
        self.arrived.set()
        await asyncio.to_thread(self.released.wait)
        if self.dropped:
            raise ConnectionResetError


@dataclass
class Link:
    """One listening port before one server, for any number of clients; for any thread."""

    name: str
    loop: asyncio.AbstractEventLoop
    port: int = 0
    upstream: int = 0
    weather: Weather = FAIR
    open: set[asyncio.StreamWriter] = field(default_factory=set)
    held: list[Held] = field(default_factory=list)

    def hold(self, marker: bytes, *, answer: bool = False) -> Held:
        """Keep back the next piece from a client with this marker, or the server's answer to it.

        Once: what comes later passes.
        """
        held = Held(marker, answer)
        self.held.append(held)
        return held

    def freeze(self) -> None:
        """Pass nothing on, and let nobody notice: connections stay open, half dead."""
        self.weather = Weather(silent=True)

    def refuse(self) -> None:
        """Drop every connection, and every new one."""
        self.weather = Weather(refused=True)
        self.cut()

    def heal(self) -> None:
        """Pass everything on again."""
        self.weather = FAIR

    def cut(self) -> None:
        """Reset every open connection."""
        self.loop.call_soon_threadsafe(self._abort)

    def release(self) -> None:
        """Nothing is kept back any more."""
        for held in self.held:
            held.released.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass data both ways until both ends are done."""
        if self.weather.refused:
            writer.transport.abort()
            return
        writers, waiting = {writer}, list[Held]()
        self.open |= writers
        try:
            from_server, to_server = await asyncio.open_connection(HOST, self.upstream)
            writers.add(to_server)
            self.open |= writers
            await asyncio.gather(
                self._pass(reader, to_server, waiting, is_request=True),
                self._pass(from_server, writer, waiting, is_request=False),
            )
        except (OSError, asyncio.CancelledError):  # the latter as the loop ends
            pass
        finally:
            self.open -= writers
            for one in writers:
                one.transport.abort()

    async def _pass(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        waiting: list[Held],
        *,
        is_request: bool,
    ) -> None:
        passed = 0
        while data := await reader.read(self.weather.piece):
            if held := self._match(data, waiting) if is_request else waiting and waiting.pop():
                await held.keep()
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

    def _match(self, data: bytes, waiting: list[Held]) -> Held | None:
        """What keeps this piece back; what keeps its answer back waits for that."""
        for held in self.held:
            if not held.data and held.marker in data:
                held.data = data
                if not held.answer:
                    return held
                waiting.append(held)
                return None
        return None

    def _abort(self) -> None:
        for writer in self.open:
            writer.transport.abort()


async def _listen(made: dict[str, Link], ready: threading.Event, stop: asyncio.Event) -> None:
    servers = []
    for link in made.values():
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
def links(*names: str) -> Iterator[dict[str, Link]]:
    """Links that listen, by name; where each leads is set before its first connection."""
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    made = {name: Link(name, loop) for name in names}
    work = _listen(made, ready, stop)
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(work), name="proxy", daemon=True
    )
    thread.start()
    ready.wait()
    try:
        yield made
    finally:
        for link in made.values():
            link.release()
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@contextmanager
def proxy(target: int) -> Iterator[Link]:
    """A link to the local server on this port."""
    with links("") as made:
        made[""].upstream = target
        yield made[""]
