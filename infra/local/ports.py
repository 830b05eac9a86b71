"""Which loopback port a server gets."""

import random
import socket
from collections.abc import Callable

from infra.local.keeper import StackError

HOST = "127.0.0.1"
DEFAULT = 8000
BELOW_CONNECTIONS = range(10_000, 32_768)
"""Kernels give connections higher ones: those may be taken before a server gets to listen."""


def is_free(port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        # As servers do: connections that are still closing do not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody listens on."""
    draw = random.SystemRandom()
    while not is_free(port := draw.choice(BELOW_CONNECTIONS)):
        pass
    return port


def choose_port(asked: int | None, say: Callable[[str], None]) -> int:
    """The API's port: what was asked for; by default 8000 or, if it is taken, a free one."""
    port = DEFAULT if asked is None else asked
    if port and is_free(port):
        return port
    if asked:
        raise StackError(f"port {asked} is taken; choose another with PORT=...")
    chosen = free_port()
    if asked is None:
        say(f"port {DEFAULT} is taken: using {chosen}")
    return chosen
