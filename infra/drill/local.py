"""The processes of `make up`, found by its data folder; Linux only."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from infra.drill.stream import DrillError
from infra.local.secrets import first_key

PROC = Path("/proc")
WORKERS, COURIER, API = ("worker.gpu", "infra.simulated"), ("worker.courier",), ("uvicorn",)


class LocalStack:
    """A stack that runs on a data folder; raises DrillError where none does."""

    def __init__(self, data: Path) -> None:
        self._data = data
        # One process may keep several stacks.
        self._mark = f"IMG2IMG_API_KEYS={data.resolve() / 'keys.json'}".encode()
        if not any(True for _ in self._children()):
            raise DrillError(f"no stack runs on {data}: start it with `make up DATA={data}`")
        command = next(command for _, command in self._children() if _runs(command, API))
        self.url = f"http://127.0.0.1:{command[command.index('--port') + 1]}"
        self.key = first_key(str(data / "keys.json"))

    def kill_worker(self) -> None:
        """The first one that is found."""
        self._kill(WORKERS)

    def kill_courier(self) -> None:
        """The same."""
        self._kill(COURIER)

    def _kill(self, modules: tuple[str, ...]) -> None:
        for pid, command in self._children():
            if _runs(command, modules):
                os.kill(pid, signal.SIGKILL)
                return
        raise DrillError(f"none of {', '.join(modules)} runs on {self._data}")

    def _children(self) -> Iterator[tuple[int, list[str]]]:
        lock = self._data / "lock"
        keeper = lock.read_text().strip() if lock.exists() else ""
        for status in PROC.glob("[0-9]*/status"):
            try:
                parent = status.read_text().partition("PPid:")[2].split()[0]
                command = (status.parent / "cmdline").read_bytes().decode().split("\0")
                settings = (status.parent / "environ").read_bytes() if parent == keeper else b""
            except OSError:  # it ended
                continue
            if self._mark in settings.split(b"\0"):
                yield int(status.parent.name), command


def _runs(command: list[str], modules: tuple[str, ...]) -> bool:
    return "-m" in command and command[command.index("-m") + 1] in modules
