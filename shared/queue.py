"""Celery on Redis: the app every GPU worker runs, and the ready-made message that wakes it.

A message is a hint. It carries a job's id and generation, nothing else; the ledger decides whether
there is anything to do. So messages may be lost, doubled or late without harm.
"""

import base64
import json
from datetime import timedelta
from typing import Any

from celery import Celery
from kombu import Queue

GENERATE = "generate"
"""The one task."""


TRANSPORT = {
    # Priorities live in the ledger's lanes: one list per queue is enough.
    "priority_steps": [0],
    "socket_connect_timeout": 2,
    "socket_timeout": 10,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "client_name": "img2img-worker",
}


def queue_name(pool: str) -> str:
    """The Celery queue, and the Redis list, that the workers of a pool consume."""
    return f"gpu.{pool}"


def make_celery(
    redis_url: str, pools: set[str], *, drain: timedelta = timedelta(seconds=10)
) -> Celery:
    """The Celery app. `set_as_current=False`: one process, and one test, may hold several."""
    celery = Celery("img2img", broker=redis_url, set_as_current=False)
    celery.conf.update(
        # The ledger holds results; Celery's own backend would be a second truth.
        result_backend=None,
        task_ignore_result=True,
        # Late acks on Redis run long jobs twice, restore work in flight at every dropped
        # connection, and end the worker when Redis goes away; the ledger's lease protects the job.
        task_acks_late=False,
        # Of what a worker has taken Redis keeps nothing: a prefetched message would sit in a busy
        # worker while others idle.
        worker_disable_prefetch=True,
        worker_prefetch_multiplier=1,
        task_serializer="json",
        accept_content=["json"],
        task_protocol=2,
        # A typo in a queue name must fail, not strand a job.
        task_create_missing_queues=False,
        # no_ack: taken is gone. The ledger misses a message that nobody claims, and sends it again.
        task_queues=[Queue(queue_name(pool), no_ack=True) for pool in sorted(pools)],
        task_default_queue=queue_name(min(pools)),
        worker_send_task_events=False,
        # Orders come through the ledger.
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        # The default gives up after 100 tries; an outage may last longer.
        broker_connection_max_retries=None,
        # A read-only or full Redis answers with an error; without this an idle worker exits on it.
        broker_channel_error_retry=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        # SIGQUIT: the pool's terminate_job hands the running jobs back.
        worker_soft_shutdown_timeout=drain.total_seconds(),
        broker_transport_options=TRANSPORT,
    )
    return celery


def message_template() -> str:
    """The message Celery would send, with __POOL__, __ID__, __GENERATION__ and __TAG__ to fill in.

    Celery itself writes it, into a broker in memory, so it follows the installed version. Only the
    encoding of the body changes, from base64 to plain UTF-8, because a Lua script fills it in.
    """
    celery = make_celery("memory://localhost/", {"__POOL__"})
    queue = queue_name("__POOL__")
    celery.send_task(
        GENERATE,
        args=["__ID__", "__GENERATION__"],
        task_id="__ID__.__GENERATION__",
        queue=queue,
        argsrepr="",
        kwargsrepr="",
    )
    with celery.connection_for_read() as connection:
        message: dict[str, Any] = connection.default_channel._get(queue)  # type: ignore[attr-defined] # noqa: SLF001
    message["body"] = base64.b64decode(message["body"]).decode()
    message["properties"] |= {"body_encoding": "utf-8", "delivery_tag": "__TAG__"}
    return json.dumps(message)
