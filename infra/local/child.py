"""One process of the stack: its command, its log, its death and its next start."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0
HEALTHY_AFTER = 60.0
"""Seconds of life after which earlier deaths are forgotten."""
TAIL = 30

ROOT = Path(__file__).resolve().parents[2]
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Service:
    """What to run, and when it counts as running."""

    name: str
    command: tuple[str, ...]
    answers: Callable[[], bool]
    """Whether it is ready, as seen from outside."""
    stage: int = 0
    """Later stages depend on earlier ones and stop before them."""
    env: Mapping[str, str] = field(default_factory=dict)
    ready_file: Path | None = None
    """Written by the process itself once it works; removed before each start."""
    patience: float = 60
    """Seconds it may need to become ready."""
    grace: float = 10
    """Seconds it may need to stop."""


def restart_delay(failures: int) -> float:
    """Seconds to wait before the start after so many deaths in a row."""
    return min(FIRST_DELAY * 2 ** min(failures - 1, 10), LONGEST_DELAY)


def how_it_ended(code: int) -> str:
    """An exit code as a person says it."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


class Child:
    """Its process starts in the thread that tends it; other methods are safe from any thread."""

    def __init__(
        self, service: Service, *, log: Path, env: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self.service = service
        self.log = log
        self.starts = 0
        self.last_exit: int | None = None
        self._env = {**env, **service.env}
        self._say = say
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._failures = 0
        self._started = self._due = 0.0

    @property
    def pid(self) -> int | None:
        """The running process's id."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    @property
    def is_ready(self) -> bool:
        """Whether it runs and answers."""
        return self.pid is not None and self.service.answers()

    def want(self) -> None:
        """Have it started at the next `tend`."""
        with self._lock:
            self._wanted, self._failures, self._due, self.last_exit = True, 0, 0.0, None

    def tend(self, *, revive: bool) -> None:
        """Notice a death, and start what is due; with `revive` the dead are due again."""
        with self._lock:
            if self._process and self._process.poll() is not None:
                self._bury(self._process.returncode, revive=revive)
            if self._wanted and self._process is None and time.monotonic() >= self._due:
                self._spawn(revive=revive)

    def send(self, number: int) -> None:
        """Send a signal; SIGKILL returns when the process is gone."""
        process = self._process
        if process and process.poll() is None:
            process.send_signal(number)
            if number == signal.SIGKILL:
                process.wait(self.service.grace)

    def ask_to_stop(self) -> None:
        """SIGTERM, and no start after that."""
        with self._lock:
            self._wanted = False
            if self._process and self._process.poll() is None:
                self._process.terminate()

    def finish(self) -> None:
        """Kill whatever is left of it."""
        with self._lock:
            if not (process := self._process):
                return
            if process.poll() is None:
                grace = self.service.grace
                self._say(f"{self.service.name} did not stop within {grace:g} s: killed")
            self._kill_group(process)
            self.last_exit, self._process = process.wait(), None

    def tail(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-TAIL:])

    def _spawn(self, *, revive: bool) -> None:
        if self.service.ready_file:
            self.service.ready_file.unlink(missing_ok=True)
        self._started = time.monotonic()
        self.starts += 1
        parent = os.getpid()
        with self.log.open("ab") as log:
            try:
                self._process = subprocess.Popen(
                    self.service.command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=ROOT,
                    env=self._env,
                    # Ctrl-C on the terminal is ours to pass on, in our order.
                    start_new_session=True,
                    preexec_fn=lambda: die_with(parent),  # noqa: PLW1509  # one system call, no lock
                )
            except OSError as error:
                log.write(f"cannot start {self.service.command[0]}: {error}\n".encode())
                self._bury(127, revive=revive)

    def _bury(self, code: int, *, revive: bool) -> None:
        if self._process:
            self._kill_group(self._process)
        self._process, self.last_exit = None, code
        self._wanted = self._wanted and revive
        if not self._wanted:
            return
        lived = time.monotonic() - self._started
        self._failures = 1 if lived >= HEALTHY_AFTER else self._failures + 1
        delay = restart_delay(self._failures)
        self._due = time.monotonic() + delay
        ended = how_it_ended(code)
        self._say(f"{self.service.name}: {ended}; starts again in {delay:g} s (log: {self.log})")

    @staticmethod
    def _kill_group(process: "subprocess.Popen[bytes]") -> None:
        # Its own children too: a worker that dies takes its image decoders with it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def die_with(parent: int) -> None:
    """In a new child: have the kernel kill it when the thread that forked it ends (Linux only)."""
    if _libc:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)
