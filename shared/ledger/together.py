"""Calls that are made in one turn of the event loop, sent as one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Together(Generic[A, R]):
    """A function of one, by a function of several: under load, many share one round trip.

    `call` answers for each in turn, with an exception for one that failed alone; what it raises, it
    raises for all. Who is cancelled takes nothing from the others.
    """

    def __init__(
        self, call: Callable[[list[A]], Awaitable[Sequence[R | Exception]]], most: int
    ) -> None:
        self._call = call
        self._most = most
        self._waiting: list[tuple[A, asyncio.Future[R]]] = []
        self._sent: set[asyncio.Task[None]] = set()

    async def __call__(self, asked: A) -> R:
        """The answer for one."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[R] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._send)
        self._waiting.append((asked, answer))
        return await answer

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for first in range(0, len(waiting), self._most):
            sent = asyncio.create_task(self._settle(waiting[first : first + self._most]))
            self._sent.add(sent)  # nobody else holds it
            sent.add_done_callback(self._sent.discard)

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
