"""Keeps the stack's processes alive: starts them, revives the dead, stops them in order."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path

from infra.local.child import Child, Service, how_it_ended

BEAT = 0.1
"""Seconds between looks at the children."""


class StackError(Exception):
    """The stack cannot start or go on; says why in full."""


class Keeper:
    """One thread that owns every child.

    It has to be a single long-lived thread: the kernel counts a child's parent as dead when the
    thread that forked it ends.
    """

    def __init__(
        self,
        services: Iterable[Service],
        *,
        logs: Path,
        env: Mapping[str, str],
        say: Callable[[str], None] = lambda _line: None,
    ) -> None:
        self._say = say
        self.children = {
            service.name: Child(service, log=_fresh_log(logs, service.name), env=env, say=say)
            for service in services
        }
        self._revive = False
        self._hurry = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin to tend; nothing runs until it is asked for with `bring_up`."""
        self._thread.start()

    def bring_up(self, names: Iterable[str]) -> None:
        """Start these together and return when all are ready."""
        names = list(names)
        for name in names:
            self.children[name].want()
        self.await_ready(names)

    def revive_the_dead(self) -> None:
        """From now on a child that dies is started again."""
        self._revive = True

    def await_ready(self, names: Iterable[str]) -> None:
        """Return when all of these answer; else a `StackError` that shows the end of the log."""
        begun = time.monotonic()
        waiting = [self.children[name] for name in names]
        while waiting:
            waited = time.monotonic() - begun
            for child in list(waiting):
                if child.is_ready:
                    waiting.remove(child)
                    self._say(f"{child.service.name} ready after {waited:.1f} s")
                else:
                    self._check(child, waited)
            time.sleep(BEAT / 2)

    def stop(self) -> None:
        """Stop everything, latest stage first; Ctrl-C meanwhile kills what still takes its time."""
        self._stop.set()
        if self._thread.ident is None:
            return
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self._hurry.set()
            self._thread.join()

    def stop_one(self, name: str) -> None:
        """Stop one process and leave it stopped; `bring_up` starts it again."""
        self._stop_together([self.children[name]])

    def _check(self, child: Child, waited: float) -> None:
        name = child.service.name
        if child.last_exit is not None and not self._revive:
            raise StackError(_failure(child, f"{name} ended: {how_it_ended(child.last_exit)}"))
        if waited > child.service.patience:
            raise StackError(_failure(child, f"{name} is not ready after {waited:.0f} s"))
        if self._stop.is_set():
            raise StackError(f"the stack was stopped while it waited for {name}")

    def _run(self) -> None:
        while not self._stop.is_set():
            for child in self.children.values():
                child.tend(revive=self._revive)
            self._stop.wait(BEAT)
        by_stage = sorted(self.children.values(), key=lambda child: -child.service.stage)
        for _, together in groupby(by_stage, key=lambda child: child.service.stage):
            self._stop_together(list(together))

    def _stop_together(self, children: list[Child]) -> None:
        for child in children:
            child.ask_to_stop()
        begun = time.monotonic()
        for child in children:
            patient_until = begun + child.service.grace
            while child.pid and time.monotonic() < patient_until and not self._hurry.is_set():
                time.sleep(BEAT / 2)
            child.finish()


def _fresh_log(logs: Path, name: str) -> Path:
    """An empty log; the one of the last run stays beside it."""
    log = logs / f"{name}.log"
    if log.exists():
        log.rename(logs / f"{name}.log.1")
    log.touch()
    return log


def _failure(child: Child, what: str) -> str:
    return f"{what}\nThe end of {child.log}:\n{child.tail() or '(empty)'}"
