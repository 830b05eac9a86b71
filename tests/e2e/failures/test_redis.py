"""Redis that dies, fails over, fills up, slows down, hangs or forgets, while callers go on."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.e2e.failures.scene import LONG, WORKERS, Scene, until
from tests.servers import free_port

LEASE = 2.0
PROCESSES = (*WORKERS, "courier", "api")


@contextmanager
def callers(service: Scene) -> Iterator[list[int]]:
    """Someone who asks again and again, and goes away when he is refused; what he was answered."""
    answers: list[int] = []
    enough = threading.Event()

    def call() -> None:
        while not enough.wait(0.1):
            try:
                answer = service.ask()
            except httpx.TimeoutException:
                answers.append(0)
                continue
            answers.append(answer.status_code)
            if answer.status_code == 200:
                service.accepted[answer.json()["id"]] = "called"

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield answers
    finally:
        enough.set()
        thread.join()


@pytest.fixture
def busy(service) -> Iterator[list[int]]:
    """Jobs that are painted, and callers; whatever happens, nobody may die of it."""
    for seed in range(4):
        service.submit(**LONG, seed=seed)
    until(lambda: sum(service.is_painted(job) for job in service.accepted) >= 2)
    pids = service.pids(*PROCESSES)
    with callers(service) as answers:
        yield answers
    assert service.pids(*PROCESSES) == pids, "a process ended"


def all_is_done(service: Scene, answers: list[int], *, extra_starts: int | None = None) -> None:
    """The callers are served again, and every job that was accepted succeeds.

    With so short a lease each may have to be started once more, unless it is said otherwise.
    """
    heard = len(answers)
    until(lambda: 200 in answers[heard:])
    until(service.redis.ping)
    jobs = dict(service.accepted)
    until(lambda: all(service.state(job) == "succeeded" for job in jobs))
    assert set(answers) <= {200, 503}
    extra = [int(service.field(job, "generation")) - 1 for job in jobs]
    assert max(extra) <= 1 if extra_starts is None else sum(extra) <= extra_starts


@pytest.fixture(autouse=True)
def settled(service):
    """Nothing is left after any of it."""
    yield
    ended = service.settled(extra_starts=len(service.accepted))
    assert set(ended) <= {"succeeded"}


@pytest.mark.parametrize("away", [0.0, LEASE + 1])
def test_redis_is_killed_and_comes_back(service, busy, away):
    service.valkey.kill()
    time.sleep(away)  # how long the outage lasts
    service.valkey.start()

    all_is_done(service, busy, extra_starts=0)


def test_all_connections_are_cut_again_and_again(service, busy):
    for _ in range(5):
        for kind in ("normal", "pubsub"):
            service.redis.client_kill_filter(_type=kind, skipme=True)
        time.sleep(0.2)

    all_is_done(service, busy, extra_starts=0)


def fails_over(redis) -> Iterator[None]:
    redis.replicaof("127.0.0.1", free_port())  # a replica may not write
    yield
    redis.replicaof("NO", "ONE")


def is_full(redis) -> Iterator[None]:
    redis.config_set("maxmemory", 1)
    yield
    redis.config_set("maxmemory", 0)


def is_locked(redis) -> Iterator[None]:
    redis.config_set("requirepass", "changed")
    redis.client_kill_filter(_type="normal", skipme=True)
    yield
    redis.config_set("requirepass", "")


def is_slow(redis) -> Iterator[None]:
    redis.client_pause(1500, all=True)
    yield


@pytest.mark.parametrize("fault", [fails_over, is_full, is_locked, is_slow])
def test_redis_answers_with_errors_for_a_while(service, busy, fault):
    happening = fault(service.redis)
    next(happening)
    time.sleep(1.5)  # how long it lasts
    next(happening, None)

    all_is_done(service, busy)


def test_connections_are_half_dead(service, busy):
    service.redis_link.freeze()
    time.sleep(LEASE + 2)  # longer than a client waits for an answer
    service.redis_link.heal()

    all_is_done(service, busy)
    service.bring_forward()


def test_a_worker_dies_while_redis_is_away(service):
    job = service.submit(**LONG)
    until(lambda: service.is_painted(job))
    worker = service.worker_of(job)

    service.valkey.kill()
    service.stack.kill(worker)
    time.sleep(LEASE + 1)  # how long the outage lasts
    service.valkey.start()

    until(lambda: service.state(job) == "succeeded")
    assert service.field(job, "generation") == "2"
    service.replace(worker)


def test_redis_forgets_everything_and_nobody_minds(service):
    service.stack.await_ready(*WORKERS)
    jobs = [service.submit(**LONG, seed=n) for n in range(3)]
    until(lambda: all(service.is_painted(job) for job in jobs))
    pids = service.pids(*PROCESSES)

    service.valkey.kill()
    shutil.rmtree(service.valkey.directory / "appendonlydir")
    service.valkey.start()
    service.accepted.clear()
    service.submit()
    assert service.settled(extra_starts=0) == {"succeeded": 1}

    for job in jobs:
        body = {"key": service.stack.key}
        answer = service.http.post(f"/api/v3/fetch/{job}", json=body).json()
        assert answer["status"] == "failed", "an unknown id"
    assert not service.redis.exists(*(f"job:{job}" for job in jobs))
    assert service.pids(*PROCESSES) == pids
