"""The processes that decode: asked from any thread, killed when an image is too much for them."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Self

import numpy as np

from shared.errors import BadInput
from worker.gpu.decoder import Answer, DecoderLimits, receive, send
from worker.gpu.encoding import encode
from worker.gpu.images import Wanted
from worker.gpu.samples import Pixels

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60
LAST_SECONDS = 1
"""From a decoder's last word to its end."""
KEEPS = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20)}
"""Bytes that it does not give back after an image: to get them again took a third of the time."""
CRASHES = {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGFPE, -signal.SIGILL}
"""What a decoder dies of by itself. Of anything else somebody else killed it."""


class DecoderLost(Exception):
    """A decoder died, and not of its image: another attempt helps."""


class DecoderPool:
    """Some decoders, started at once."""

    def __init__(self, size: int, limits: DecoderLimits) -> None:
        self._size, self._limits = size, limits
        self._idle: SimpleQueue[_Decoder] = SimpleQueue()
        for _ in range(size):
            self._idle.put(_Decoder(limits))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decode(self, data: bytes, wanted: Wanted) -> Pixels:
        """See `images.pixels`; raises `BadInput`, and `DecoderLost`."""
        decoder = self._idle.get()
        try:
            if not decoder.is_alive:
                decoder.kill()  # its socket is still open
                decoder = _Decoder(self._limits)
            return decoder.decode(data, wanted)
        finally:
            self._idle.put(decoder)

    def check(self) -> None:
        """Have each of them decode something; raises what `decode` raises."""
        tiny = encode(np.zeros((16, 16, 3), np.uint8))
        for _ in range(self._size):
            self.decode(tiny, Wanted(field="a first image"))

    def close(self) -> None:
        """End those that are idle."""
        while not self._idle.empty():
            self._idle.get().kill()


class _Decoder:
    """One process; it serves one image at a time."""

    def __init__(self, limits: DecoderLimits) -> None:
        self._limits = limits
        self._is_ready = False
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (ourselves)
                [sys.executable, "-m", "worker.gpu.decoder", limits.model_dump_json()],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,
            )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def decode(self, data: bytes, wanted: Wanted) -> Pixels:
        try:
            if not self._is_ready:
                receive(self._socket, time.monotonic() + START_SECONDS)
                self._is_ready = True
            return self._ask(data, wanted)
        except TimeoutError:
            self.kill()
            if not self._is_ready:
                raise DecoderLost("it did not start") from None
            raise _gave_up(wanted, f"after {self._limits.wall:g} s") from None
        except (EOFError, OSError):
            raise self._obituary(wanted) from None

    def _ask(self, data: bytes, wanted: Wanted) -> Pixels:
        deadline = time.monotonic() + self._limits.wall
        self._socket.settimeout(self._limits.wall)
        send(self._socket, wanted, data)
        head, body = receive(self._socket, deadline)
        answer = Answer.model_validate_json(head)
        if answer.error is not None:
            raise BadInput(answer.error)
        return np.frombuffer(body, np.uint8).reshape(answer.shape)

    def _obituary(self, wanted: Wanted) -> Exception:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_SECONDS)
        self.kill()
        code = self._process.returncode
        if code == -signal.SIGXCPU:
            return _gave_up(wanted, f"after {self._limits.work:g} s of work")
        if code in CRASHES:
            return _gave_up(wanted, "for it cannot be decoded")
        return DecoderLost(f"it ended with {code}")


def _gave_up(wanted: Wanted, why: str) -> BadInput:
    return BadInput(f"{wanted.field}: the decoder gave up {why}")


def _environment() -> dict[str, str]:
    """What an interpreter needs to start; no setting of ours, for some are secrets."""
    given = os.environ  # noqa: TID251 (handed on)
    kept = {name: given[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in given}
    return kept | KEEPS | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
