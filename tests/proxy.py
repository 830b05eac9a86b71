"""A TCP proxy that passes bytes on, holds them back or drops the connection, as a test says."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Held:
    """Bytes that are kept back: those with the marker, or the answer to them."""

    marker: bytes
    answer: bool
    arrived: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    data: bytes = b""
    """Those with the marker."""
    dropped: bool = False

    def drop(self) -> None:
        """They never arrive, and the connection ends."""
        self.dropped = True
        self.released.set()


class Proxy:
    """Between any number of clients and one server."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._sockets: set[socket.socket] = set()
        self._awaited: list[Held] = []
        self._held: list[Held] = []
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self._refuses = self._ended = False
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self, marker: bytes, *, answer: bool = False) -> Held:
        """Keep back the next bytes of a client with this marker, or the server's answer to them.

        Once: what comes later passes.
        """
        held = Held(marker, answer)
        with self._lock:
            self._awaited.append(held)
            self._held.append(held)
        return held

    def freeze(self) -> None:
        """Pass nothing on, and let nobody notice: connections stay open, half dead."""
        self._flows.clear()

    def thaw(self) -> None:
        """Pass everything on again."""
        self._flows.set()

    def refuse(self) -> None:
        """Drop every connection, and every new one."""
        self._refuses = True
        self.cut()

    def accept(self) -> None:
        """Let clients in again."""
        self._refuses = False

    def cut(self) -> None:
        """Drop every connection there is."""
        with self._lock:
            sockets = list(self._sockets)
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End, with all that goes through it."""
        self._ended = True
        for held in self._held:
            held.released.set()
        self.thaw()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._ended:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._refuses:
                    raise ConnectionRefusedError
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                client.close()
                continue
            for one in (client, server):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets |= {client, server}
            waiting: list[Held] = []
            for work in (self._requests, self._answers):
                threading.Thread(target=work, args=(client, server, waiting), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, waiting: list[Held]) -> None:
        for data in self._received(client, server):
            if held := self._match(data):
                if held.answer:
                    waiting.append(held)
                else:
                    self._keep(held)
                if held.dropped:
                    return
            self._pass(data, server)

    def _answers(self, client: socket.socket, server: socket.socket, waiting: list[Held]) -> None:
        for data in self._received(server, client):
            if waiting:
                self._keep(waiting.pop())
            self._pass(data, client)

    def _match(self, data: bytes) -> Held | None:
        with self._lock:
            for held in self._awaited:
                if held.marker in data:
                    self._awaited.remove(held)
                    held.data = data
                    return held
        return None

    @staticmethod
    def _keep(held: Held) -> None:
        held.arrived.set()
        held.released.wait()

    def _pass(self, data: bytes, to: socket.socket) -> None:
        self._flows.wait()
        with suppress(OSError):
            to.sendall(data)

    def _received(self, one: socket.socket, other: socket.socket) -> Iterator[bytes]:
        try:
            while data := one.recv(65536):
                yield data
        except OSError:
            pass
        finally:
            with suppress(OSError):
                other.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._sockets.discard(one)
            one.close()


@contextmanager
def proxy(target: int) -> Iterator[Proxy]:
    """A proxy before the local server on this port."""
    between = Proxy(target)
    try:
        yield between
    finally:
        between.close()
