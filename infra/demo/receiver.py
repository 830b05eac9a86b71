"""The customer's side of the demo: a small web server that has the photo and takes webhooks."""

import queue
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Delivery:
    """One webhook as it arrived."""

    body: bytes
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)


class Receiver:
    """Serves one photo at `photo_url` and collects what is posted to `webhook_url`.

    `url` is how the service reaches what listens here; None: as we do.
    """

    def __init__(
        self, photo: Path, *, listen: tuple[str, int] = ("127.0.0.1", 0), url: str | None = None
    ) -> None:
        self._deliveries: queue.Queue[Delivery] = queue.Queue()
        handler = type("Handler", (_Handler,), {"photo": photo, "deliveries": self._deliveries})
        self._server = _Server(listen, handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        base = url or f"http://127.0.0.1:{self._server.server_port}"
        self.photo_url = f"{base}/{photo.name}"
        self.webhook_url = f"{base}/webhook"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def next_delivery(self, *, timeout: float) -> Delivery | None:
        """The next webhook, or None when none comes in time."""
        try:
            return self._deliveries.get(timeout=timeout)
        except queue.Empty:
            return None


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # else the connections of a burst wait for the kernel's retry


class _Handler(BaseHTTPRequestHandler):
    photo: Path
    deliveries: "queue.Queue[Delivery]"

    def do_GET(self) -> None:
        if self.path != f"/{self.photo.name}":
            self.send_error(404)
            return
        image = self.photo.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(image)))
        self.end_headers()
        self.wfile.write(image)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.deliveries.put(Delivery(body, dict(self.headers.items())))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """The demo says itself what happens."""
