"""Whether a server answers yet."""

import http.client
import socket

from infra.local.ports import HOST

PATIENCE = 2.0
"""Seconds for one question."""


def redis_answers(port: int) -> bool:
    """Whether Redis has its data loaded; before that it answers `-LOADING`."""
    try:
        with socket.create_connection((HOST, port), timeout=PATIENCE) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def http_status(port: int, path: str) -> int | None:
    """The status of a GET, or None when nobody answers HTTP there."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
