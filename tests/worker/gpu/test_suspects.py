"""A job whose worker ended under it runs alone: it may end another one, and takes nobody along."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.config import Settings
from tests.ledger import Ledger
from tests.worker.gpu.benches import RETRY_DELAY, job_of, make_bench, run
from tests.worker.gpu.stand_ins import paint

SECONDS = 10


@pytest.fixture
def ledger(redis) -> Ledger:
    return Ledger(redis, Settings())


@pytest.fixture
def bench(ledger):
    return make_bench(ledger)


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as threads:
        yield threads


class Device:
    """Keeps each sample until its job may go on, and knows who was on it at the same time."""

    def __init__(self) -> None:
        self.beside: dict[int, set[int]] = {}
        self._free: dict[int, threading.Event] = {}
        self._on: set[int] = set()
        self._arrived = threading.Condition()

    def __call__(self, sample) -> None:
        with self._arrived:
            self._on.add(sample.job_id)
            for one in self._on:
                self.beside.setdefault(one, set()).update(self._on - {one})
            self._arrived.notify_all()
        assert self.free(sample.job_id).wait(SECONDS)
        with self._arrived:
            self._on.discard(sample.job_id)
        paint(sample)

    def free(self, job_id: int) -> threading.Event:
        return self._free.setdefault(job_id, threading.Event())

    def has(self, job) -> bool:
        with self._arrived:
            return self._arrived.wait_for(lambda: job.id in self._on, SECONDS)


def suspect_of(ledger):
    """A job that lost its first worker."""
    job = job_of()
    ledger.running(job)
    ledger.make_due("leases", job)
    ledger.reap()
    return job


def is_aside(ledger, job) -> bool:
    return ledger.redis.hget(f"job:{job.id}", "aside") == str(ledger.record(job).generation)


def until(condition) -> None:
    waiting = threading.Event()
    for _ in range(SECONDS * 100):
        if condition():
            return
        waiting.wait(0.01)
    pytest.fail("it never came to that")


def test_a_suspect_has_the_process_to_itself_and_the_others_wait(bench, ledger, threads):
    bench.engine.answer = device = Device()
    before, suspect, after = job_of(), suspect_of(ledger), job_of()
    ledger.submit(before, after)

    runs = [threads.submit(run, bench, ledger, before)]
    assert device.has(before)
    runs.append(threads.submit(run, bench, ledger, suspect))
    until(lambda: is_aside(ledger, suspect))
    runs.append(threads.submit(run, bench, ledger, after))
    until(lambda: is_aside(ledger, after))
    for job in (before, suspect, after):
        assert device.has(job)
        assert not is_aside(ledger, job)
        device.free(job.id).set()

    assert [one.result(SECONDS).state for one in runs] == ["succeeded"] * 3
    assert device.beside == {job.id: set() for job in (before, suspect, after)}


def test_jobs_that_are_no_suspects_share_the_device(bench, ledger, threads):
    bench.engine.answer = device = Device()
    jobs = [job_of(), job_of()]
    ledger.submit(*jobs)

    runs = [threads.submit(run, bench, ledger, job) for job in jobs]
    assert all(device.has(job) for job in jobs)
    for job in jobs:
        device.free(job.id).set()

    assert [one.result(SECONDS).state for one in runs] == ["succeeded"] * 2
    assert device.beside == {jobs[0].id: {jobs[1].id}, jobs[1].id: {jobs[0].id}}


def test_who_waits_for_a_suspect_is_not_charged_when_it_ends_the_worker(bench, ledger, threads):
    bench.engine.answer = device = Device()
    suspect, other = suspect_of(ledger), job_of()
    ledger.submit(other)
    culprit = threads.submit(run, bench, ledger, suspect)
    assert device.has(suspect)
    bystander = threads.submit(run, bench, ledger, other)
    until(lambda: is_aside(ledger, other))

    for job in (suspect, other):  # as if the process had ended
        ledger.make_due("leases", job)
    ledger.reap()

    assert [ledger.record(job).attempts for job in (suspect, other)] == [2, 0]
    device.free(suspect.id).set()
    for one in (culprit, bystander):
        assert one.result(SECONDS).state == "queued"
    assert [sample.job_id for sample in bench.engine.submitted] == [suspect.id]


def test_a_job_that_is_handed_back_while_it_waits_is_not_started(bench, ledger, threads):
    bench.engine.answer = device = Device()
    suspect, other = suspect_of(ledger), job_of()
    ledger.submit(other)
    threads.submit(run, bench, ledger, suspect)
    assert device.has(suspect)
    waiting = threads.submit(run, bench, ledger, other)
    until(lambda: is_aside(ledger, other))

    bench.leases.hand_back(f"{other.id}.1")

    record = waiting.result(SECONDS)
    assert (record.state, record.attempts) == ("queued", 0)
    device.free(suspect.id).set()
    assert [sample.job_id for sample in bench.engine.submitted] == [suspect.id]


def test_a_job_that_finds_no_turn_in_time_goes_to_another_worker(bench, ledger, threads):
    bench.engine.answer = device = Device()
    first, suspect = job_of(), suspect_of(ledger)
    ledger.submit(first)
    running = threads.submit(run, bench, ledger, first)
    assert device.has(first)

    hasty = replace(bench.runner, timeout=timedelta(0))
    hasty.run(str(suspect.id), "2")

    record = ledger.record(suspect)
    assert (record.state, record.generation, record.attempts) == ("queued", 3, 1)
    device.free(first.id).set()
    assert running.result(SECONDS).state == "succeeded"


def test_who_waits_for_a_suspect_longer_than_a_lease_is_left_to_other_workers(
    bench, ledger, threads
):
    bench.engine.answer = device = Device()
    suspect, other = suspect_of(ledger), job_of()
    ledger.submit(other)
    alone = threads.submit(run, bench, ledger, suspect)
    assert device.has(suspect)

    replace(bench.runner, patience=timedelta(0)).run(str(other.id), "1")

    record = ledger.record(other)
    assert (record.state, record.attempts) == ("queued", 0)
    assert ledger.due_in("delayed", other) > RETRY_DELAY.total_seconds() / 2
    device.free(suspect.id).set()
    assert alone.result(SECONDS).state == "succeeded"


def test_a_job_that_cannot_be_set_aside_is_not_charged(bench, ledger, threads, monkeypatch):
    bench.engine.answer = device = Device()
    suspect, other = suspect_of(ledger), job_of()
    ledger.submit(other)
    alone = threads.submit(run, bench, ledger, suspect)
    assert device.has(suspect)

    def be_away(*_, **__):
        raise RedisConnectionError("away")

    monkeypatch.setattr(ledger.attempts, "set_aside", be_away)
    record = run(bench, ledger, other)

    assert (record.state, record.attempts) == ("queued", 0)
    device.free(suspect.id).set()
    assert alone.result(SECONDS).state == "succeeded"
