"""Who may be at work in this process at the same time: many jobs, or one that must be alone."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class NoTurn(Exception):
    """It took too long, or is not wanted any more; whoever waited has done nothing yet."""


@dataclass(eq=False, frozen=True, slots=True)
class Place:
    """A job in the line, from its arrival until it is done."""

    alone: bool


class Turns:
    """First come, first served; neighbours in the line go together unless one must be alone."""

    def __init__(self) -> None:
        self._line: deque[Place] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def take(
        self,
        *,
        alone: bool,
        before_waiting: Callable[[], object],
        given_up: Callable[[], bool],
        seconds: float,
    ) -> Iterator[bool]:
        """Work in the block; whether it had to be waited for.

        Raises `NoTurn` after so many seconds in the line, or when it was given up: whoever does
        that calls `look_again`.
        """
        place = Place(alone)
        with self._changed:
            self._line.append(place)
            waits = not self._is_free(place)
        try:
            if waits:
                before_waiting()
                self._wait(place, given_up, seconds)
            yield waits
        finally:
            with self._changed:
                self._line.remove(place)
                self._changed.notify_all()

    def look_again(self) -> None:
        """Have those in the line see who was given up."""
        with self._changed:
            self._changed.notify_all()

    def _wait(self, place: Place, given_up: Callable[[], bool], seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: given_up() or self._is_free(place), seconds)
            if given_up() or not self._is_free(place):
                raise NoTurn

    def _is_free(self, place: Place) -> bool:
        if place.alone:
            return self._line[0] is place
        for other in self._line:
            if other is place:
                return True
            if other.alone:
                return False
        return False
