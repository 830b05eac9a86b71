"""Calls that are made at about the same time, sent as one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")

PATIENCE = 0.005
"""Seconds: whoever comes while a call is out waits no longer for its return, as it may hang."""


class Together(Generic[A, R]):
    """A function of one, by a function of several: under load, many share one round trip.

    A call takes along who came in the same turn of the event loop, or within `seconds`; the next
    one takes whoever comes while it is out. `call` answers for each in turn, with an exception for
    one that failed alone; what it raises, it raises for all. Who is cancelled takes nothing from
    the others.
    """

    def __init__(
        self,
        call: Callable[[list[A]], Awaitable[Sequence[R | Exception]]],
        most: int,
        seconds: float = 0,
    ) -> None:
        self._call = call
        self._most = most
        self._seconds = seconds
        self._waiting: list[tuple[A, asyncio.Future[R]]] = []
        self._out: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, asked: A) -> asyncio.Future[R]:
        """The answer for one."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[R] = loop.create_future()
        if not self._waiting:
            seconds = max(self._seconds, PATIENCE if self._out else 0)
            self._timer = loop.call_later(seconds, self._send)
        self._waiting.append((asked, answer))
        return answer

    async def close(self) -> None:
        """Wait for no more: until who waits now has an answer."""
        self._send()
        await asyncio.gather(*self._out)

    def _send(self) -> None:
        if self._timer:
            self._timer.cancel()
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), self._most):
            out = asyncio.create_task(self._settle(waiting[first : first + self._most]))
            self._out.add(out)
            out.add_done_callback(self._returned)

    def _returned(self, out: asyncio.Task[None]) -> None:
        self._out.discard(out)
        if not self._seconds:
            self._send()

    async def _settle(self, waiting: Sequence[tuple[A, asyncio.Future[R]]]) -> None:
        answers: Sequence[R | Exception]
        try:
            answers = await self._call([asked for asked, _ in waiting])
        except Exception as error:  # noqa: BLE001  # theirs to handle
            answers = [error] * len(waiting)
        for (_, future), answer in zip(waiting, answers, strict=True):
            if future.done():  # its caller is gone
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
