"""A stock Celery worker over our pool, for tests: `python -m tests.worker.gpu.pool_worker URL`.

Its task says in the list `said` when it starts and ends; a task that `waits` ends when the list
`go:{its id}` has something. Tasks that are handed back are in the list `handed_back`.
"""

import sys
import time
from datetime import timedelta

from celery import Celery, signals
from redis import Redis

from shared.queue import GENERATE, make_celery
from worker.gpu.pool import gpu_pool
from worker.gpu.tasks import Hint

SLOTS = 2
WORK_SECONDS = 0.01
"""Long enough for Celery's loop to have gone to sleep when the task ends."""


def pool_worker(url: str) -> Celery:
    """The Celery app."""
    redis = Redis.from_url(url)
    celery = make_celery(url, {"default"}, drain=timedelta(seconds=0.2))

    @celery.task(name=GENERATE, shared=False, bind=True, Request=Hint)
    def generate(task, _: str, what: str) -> None:
        redis.rpush("said", f"start {task.request.id}")
        if what == "waits":
            redis.blpop(f"go:{task.request.id}", 30)
        else:
            time.sleep(WORK_SECONDS)
        redis.rpush("said", f"end {task.request.id}")

    def hand_back(task_id: str) -> None:
        redis.rpush("handed_back", task_id)
        redis.rpush(f"go:{task_id}", "go")

    celery.conf.worker_pool = gpu_pool(hand_back)
    signals.worker_ready.connect(lambda **_: redis.rpush("said", "ready"), weak=False)
    return celery


if __name__ == "__main__":
    app = pool_worker(sys.argv[1])
    if "stock" in sys.argv:
        app.conf.worker_pool = "threads"
    slots = ["-c", str(SLOTS), "-Q", "gpu.default", "-n", "test@%h"]
    app.worker_main(["--quiet", "worker", *slots, "--without-gossip", "--without-mingle"])
