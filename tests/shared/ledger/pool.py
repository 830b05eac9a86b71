"""A pool of workers on counted time: the ledger's own scripts, on a clock that the test moves."""

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from api.terms import Place
from shared.jobs import Job
from shared.ledger import scripts
from shared.ledger.attempts import Attempt, WorkerRecord
from tests.jobs import FAILURE, RESULT, make_job

STEP = 0.03
"""Seconds of a step of up to two 512x512 samples; more of them take longer."""
FETCH, STORE = 0.1, 0.2
BATCH, SLOTS = 8, 16
SIZES = (256, 512, 768)


def on_counted_time(monkeypatch) -> None:
    """The scripts read the clock that `Pool` sets instead of the server's."""

    def timed(name: str) -> str:
        return scripts.source(name).replace("'TIME'", "'MGET', 'clock:s', 'clock:us'")

    for module in ("submissions", "attempts"):
        monkeypatch.setattr(f"shared.ledger.{module}.source", timed)


@dataclass(eq=False)
class Running:
    """A job whose inputs are there, and the steps that each of its samples has left."""

    attempt: Attempt
    left: list[int]


@dataclass
class Worker:
    """One device: sizes of picture share its time, and in a step the oldest samples go first."""

    name: str
    claimed: int = 0
    jobs: list[Running] = field(default_factory=list)
    spent: dict[int, float] = field(default_factory=dict)
    """Seconds that each size has had so far."""
    is_stepping: bool = False

    def step(self) -> tuple[float, list[Running]]:
        """Take one; the seconds it took and the jobs that it ended."""
        most = max(self.spent.values(), default=0.0)
        self.spent = {
            size: self.spent.get(size, most) for size in {_size(job) for job in self.jobs}
        }
        turn = min(sorted(self.spent), key=self.spent.__getitem__)
        rows = 0
        for job in self.jobs:
            if _size(job) == turn:
                taken = [left > 0 and (rows := rows + 1) <= BATCH for left in job.left]
                job.left = [left - took for left, took in zip(job.left, taken, strict=True)]
        ended = [job for job in self.jobs if not any(job.left)]
        self.jobs = [job for job in self.jobs if any(job.left)]
        seconds = STEP * max(1, min(rows, BATCH) / 2 * (turn / 512) ** 2)
        self.spent[turn] += seconds
        return seconds, ended


class Pool:
    """Takes jobs through the ledger and notes what was promised and what came of it."""

    def __init__(self, ledger: Any, workers: int, seed: int) -> None:
        self._ledger = ledger
        self._draw = random.Random(seed)
        self._workers = [Worker(f"w{number}") for number in range(workers)]
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._born: dict[int, float] = {}
        self._lost: set[int] = set()
        self.now = 1e6
        self.promised: dict[int, float] = {}
        self.took: dict[int, float] = {}
        for worker in self._workers:
            record = WorkerRecord(worker.name, frozenset({"default"}), SLOTS, 1.0, 0)
            ledger.attempts.register(record, lifetime=timedelta(hours=1))

    def mixed(self, count: int) -> list[Job]:
        """Jobs of three tenants that differ in size, steps, strength and samples."""
        plain = make_job().params
        return [
            make_job(
                id=self._draw.randrange(2**52),
                tenant=self._draw.choice(("alice", "alice", "alice", "bob", "bob", "carol")),
                params=plain.model_copy(
                    update={
                        "width": (size := self._draw.choice(SIZES)),
                        "height": size,
                        "steps": self._draw.choice((10, 20, 30, 50)),
                        "strength": self._draw.choice((0.3, 0.5, 0.8)),
                        "seeds": tuple(range(self._draw.choice((1, 1, 2, 4)))),
                    }
                ),
            )
            for _ in range(count)
        ]

    async def serve(self, arrivals: Sequence[tuple[float, Job]], *, lose: float = 0.0) -> None:
        """Until all have ended; `arrivals` in seconds from now, a share `lose` is tried twice."""
        coming = deque((self.now + after, job) for after, job in arrivals)
        while coming or self._events:
            if coming and (not self._events or coming[0][0] <= self._events[0][0]):
                at, job = coming.popleft()
                self._move(at)
                await self._submit(job)
                self._claim(lose)
            else:
                at, _, happen = heapq.heappop(self._events)
                self._move(at)
                happen()

    def promises(self, jobs: Iterable[Job]) -> list[tuple[float, float]]:
        """Of each: the eta it was answered with, and the seconds that it took."""
        return [(self.promised[job.id], self.took[job.id]) for job in jobs]

    async def _submit(self, job: Job) -> None:
        submissions = self._ledger.submissions
        await self._ledger.submit(job)
        record = await submissions.find(job.id, job.tenant)
        place = Place(await submissions.standing(record), await submissions.load(job.pool))
        await submissions.expect(job.id, place.expectation(record))
        self._born[job.id], self.promised[job.id] = self.now, place.eta(record)

    def _claim(self, lose: float) -> None:
        for worker in sorted(self._workers, key=lambda worker: worker.claimed):
            while worker.claimed < SLOTS and (job_ids := self._ledger.published()):
                self._ledger.redis.rpop("gpu.default")
                generation = self._ledger.redis.hget(f"job:{job_ids[0]}", "generation")
                owner = f"{worker.name}:{job_ids[0]}"
                attempt = self._ledger.attempts.claim(job_ids[0], generation, owner)
                worker.claimed += 1
                self._later(FETCH, partial(self._begin, worker, attempt, lose))

    def _begin(self, worker: Worker, attempt: Attempt, lose: float) -> None:
        params = attempt.job.params
        steps = max(1, int(params.steps * params.strength))
        worker.jobs.append(Running(attempt, [steps] * params.samples))
        if not worker.is_stepping:
            self._step(worker, lose)

    def _step(self, worker: Worker, lose: float) -> None:
        worker.is_stepping = bool(worker.jobs)
        if not worker.jobs:
            return
        seconds, ended = worker.step()
        seconds *= self._draw.uniform(0.8, 1.3)
        for job in ended:
            self._later(seconds + STORE, partial(self._end, worker, job.attempt, lose))
        self._later(seconds, partial(self._step, worker, lose))

    def _end(self, worker: Worker, attempt: Attempt, lose: float) -> None:
        job_id = attempt.job.id
        worker.claimed -= 1
        if self._draw.random() < lose and job_id not in self._lost:
            self._lost.add(job_id)
            self._ledger.attempts.hand_back(attempt, charged=True, failure=FAILURE)
        else:
            assert self._ledger.attempts.succeed(attempt, RESULT)
            self.took[job_id] = self.now - self._born[job_id]
        self._claim(lose)

    def _later(self, seconds: float, happen: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, happen))

    def _move(self, now: float) -> None:
        self.now = now
        seconds, rest = divmod(round(now * 1e6), 1_000_000)
        self._ledger.redis.mset({"clock:s": seconds, "clock:us": rest})


def _size(job: Running) -> int:
    return job.attempt.job.params.width or 512
