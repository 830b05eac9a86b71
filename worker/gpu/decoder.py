"""A process that turns bytes into pixels and may die of it: `python -m worker.gpu.decoder LIMITS`.

Its standard input is a socket: it is sent a `Wanted` and an image, again and again, and answers
each with an `Answer` and pixels. It meets no device, no secret and no address.
"""

import os
import resource
import signal
import socket
import struct
import sys
import time
import warnings
from contextlib import suppress

# Pillow would look for WebP and the kinds of JPEG when the first one comes, among forty others.
from PIL import Image, MpoImagePlugin, WebPImagePlugin  # noqa: F401
from pydantic import BaseModel, ConfigDict

from shared.errors import BadInput
from worker.gpu.images import Bounds, Wanted, pixels

LENGTHS = struct.Struct(">II")
NICENESS = 5
"""Whoever feeds the device goes first."""


class DecoderLimits(BaseModel):
    """What one image may cost: seconds of work, seconds in all, bytes of address space."""

    model_config = ConfigDict(frozen=True)

    work: float = 4
    wall: float = 30
    memory: int = 1_200_000_000
    bounds: Bounds = Bounds()


class Answer(BaseModel):
    """Of the pixels that follow, the shape; or why there are none."""

    shape: tuple[int, ...] = ()
    error: str | None = None


def send(to: socket.socket, head: BaseModel, body: bytes | memoryview = b"") -> None:
    """A message; raises OSError."""
    text, length = head.model_dump_json().encode(), memoryview(body).nbytes
    to.sendall(LENGTHS.pack(len(text), length) + text)
    to.sendall(body)


def receive(source: socket.socket, deadline: float | None = None) -> tuple[bytes, bytearray]:
    """A message: head and body. Raises EOFError, and TimeoutError at the monotonic deadline."""
    head_length, body_length = LENGTHS.unpack(_read(source, LENGTHS.size, deadline))
    head = _read(source, head_length, deadline)
    return bytes(head), _read(source, body_length, deadline)


def _read(source: socket.socket, length: int, deadline: float | None) -> bytearray:
    data = bytearray(length)
    left = memoryview(data)
    while left:
        if deadline is not None:
            source.settimeout(max(0.001, deadline - time.monotonic()))
        count = source.recv_into(left)
        if count == 0:
            raise EOFError
        left = left[count:]
    return data


def main() -> None:
    """Decode until nobody asks any more, or waits for the answer."""
    limits = DecoderLimits.model_validate_json(sys.argv[1])
    _take_precautions(limits)
    with socket.socket(fileno=0) as parent, suppress(EOFError, ConnectionError):
        send(parent, Answer())  # ready: from now on time counts
        while True:
            _allow_seconds(limits.work)  # also for what it takes to receive this image
            head, data = receive(parent)
            send(parent, *_answer(data, Wanted.model_validate_json(head), limits))


def _take_precautions(limits: DecoderLimits) -> None:
    # Its parent decides when it ends, even where a whole group is told to.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(NICENESS)
    warnings.simplefilter("ignore")
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    for what, most in (
        (resource.RLIMIT_AS, limits.memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        resource.setrlimit(what, (most, most))


def _allow_seconds(seconds: float) -> None:
    """Of work, up to one more: the kernel counts whole seconds of the process's whole life."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + seconds) + 1, hard))


def _answer(
    data: bytearray, wanted: Wanted, limits: DecoderLimits
) -> tuple[Answer, bytes | memoryview]:
    try:
        picture = pixels(bytes(data), wanted, limits.bounds)
    except BadInput as error:
        return Answer(error=error.message), b""
    except MemoryError:
        reason = f"{wanted.field}: the decoder gave up at {limits.memory // 10**6} MB of memory"
        return Answer(error=reason), b""
    return Answer(shape=picture.shape), picture.data


if __name__ == "__main__":
    main()
