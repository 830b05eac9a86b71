"""Callers that wait for a result: one Redis subscription per process wakes them, nothing polls."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from api.errors import TooManyStreams


class Waiting:
    """Who waits for which job. A lost event costs the rest of one wait, never a result."""

    def __init__(self) -> None:
        self._callers: defaultdict[int, set[asyncio.Event]] = defaultdict(set)
        self.streams: Counter[str] = Counter()
        """Open ones, by tenant."""

    @contextmanager
    def for_job(self, job_id: int) -> Iterator[asyncio.Event]:
        """An event that is set when the job ends; enter before submitting, to miss nothing."""
        event = asyncio.Event()
        self._callers[job_id].add(event)
        try:
            yield event
        finally:
            self._callers[job_id].discard(event)
            if not self._callers[job_id]:
                del self._callers[job_id]

    @contextmanager
    def streaming(self, tenant: str, *, most: int) -> Iterator[None]:
        """Counts one of the tenant's event streams; raises TooManyStreams."""
        if self.streams[tenant] >= most:
            raise TooManyStreams(most)
        self.streams[tenant] += 1
        try:
            yield
        finally:
            self.streams[tenant] -= 1

    async def listen(self, finished: AsyncIterator[int]) -> None:
        """Wake the callers of each job that ends."""
        async for job_id in finished:
            for event in self._callers.get(job_id, ()):
                event.set()
