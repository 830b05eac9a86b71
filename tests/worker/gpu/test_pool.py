"""The pool in a real Celery worker, in a process of its own, on a real broker."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from shared.queue import GENERATE, make_celery, queue_name
from tests.worker.gpu.pool_worker import SLOTS

SECONDS = 30


@pytest.fixture
def worker(redis, valkey_server, tmp_path) -> Iterator[subprocess.Popen]:
    """A worker that is ready, and is made to end if it does not by itself."""
    with (tmp_path / "worker.log").open("wb") as log:
        command = [sys.executable, "-m", "tests.worker.gpu.pool_worker", valkey_server.url]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    assert redis.blpop("said", SECONDS) == ("said", "ready")
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def send(valkey_server):
    """Send a task by its id; `waits` for its end until the list `go:{id}` has something."""
    celery = make_celery(valkey_server.url, {"default"})

    def send(task_id: str, what: str = "runs") -> None:
        args = [task_id, what]
        celery.send_task(GENERATE, args, task_id=task_id, queue=queue_name("default"))

    return send


def heard(redis, count: int) -> list[str]:
    """The next things that the tasks say."""
    return [redis.blpop("said", SECONDS)[1] for _ in range(count)]


def test_a_slot_that_frees_takes_the_next_task_at_once(redis, worker, send):
    send("slow", "waits")
    short = [f"short-{number}" for number in range(39)]
    for task_id in short:
        send(task_id)

    started = time.monotonic()
    said = heard(redis, 1 + 2 * len(short))
    seconds = time.monotonic() - started

    # One slot is taken, so the others go one after another, each start waiting for an end. Without
    # the call that wakes Celery's loop each would wait for its poll: 20 seconds where this was
    # written, for what takes half a second.
    assert seconds < 10
    assert sorted(said) == sorted(
        [f"start {i}" for i in ["slow", *short]] + [f"end {i}" for i in short]
    )


def test_no_more_tasks_are_taken_than_there_are_slots(redis, worker, send):
    for task_id in ("a", "b", "c", "d"):
        send(task_id, "waits")

    assert sorted(heard(redis, SLOTS)) == ["start a", "start b"]
    assert redis.llen(queue_name("default")) == 2, "the rest stays where another worker can have it"

    redis.rpush("go:a", "go")
    assert heard(redis, 2) == ["end a", "start c"]


def test_redis_does_not_keep_what_a_worker_has_taken(redis, worker, send):
    redis.config_resetstat()

    send("a")
    assert heard(redis, 2) == ["start a", "end a"]
    send("b", "waits")
    assert heard(redis, 1) == ["start b"], "Celery's loop has been round since the first one"

    assert not {"cmdstat_hset", "cmdstat_hdel"} & redis.info("commandstats").keys()


def test_sigquit_hands_back_what_runs_and_ends_the_worker(redis, worker, send):
    for task_id in ("a", "b", "c"):
        send(task_id, "waits")
    assert sorted(heard(redis, 2)) == ["start a", "start b"]

    worker.send_signal(signal.SIGQUIT)

    assert worker.wait(SECONDS) == 0
    assert sorted(redis.lrange("handed_back", 0, -1)) == ["a", "b"]
    assert redis.llen(queue_name("default")) == 1


def test_a_task_that_ended_is_not_handed_back(redis, worker, send):
    send("done")
    send("runs", "waits")
    while "end done" not in heard(redis, 1):
        pass

    worker.send_signal(signal.SIGQUIT)

    assert worker.wait(SECONDS) == 0
    assert redis.lrange("handed_back", 0, -1) == ["runs"]


def test_sigterm_waits_for_what_runs(redis, worker, send):
    send("a", "waits")
    assert heard(redis, 1) == ["start a"]

    worker.send_signal(signal.SIGTERM)
    redis.rpush("go:a", "go")

    assert worker.wait(SECONDS) == 0
    assert heard(redis, 1) == ["end a"]
    assert redis.lrange("handed_back", 0, -1) == []
