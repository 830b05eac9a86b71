"""The ready-made message against Celery's own."""

import base64
import json
from pathlib import Path

from shared.ledger.scripts import source
from shared.queue import GENERATE, make_celery, message_template, queue_name

VARIES = ("origin",)
"""Names the sending process."""


def test_the_ready_made_message_is_what_celery_would_send(redis, valkey_server):
    celery = make_celery(valkey_server.url, {"default"})
    sent = celery.send_task(
        GENERATE,
        args=["123", "4"],
        task_id="123.4",
        queue="gpu.default",
        argsrepr="",
        kwargsrepr="",
    )
    theirs = json.loads(redis.lpop(queue_name("default")))
    ours = json.loads(
        message_template()
        .replace("__POOL__", "default")
        .replace("__ID__", "123")
        .replace("__GENERATION__", "4")
    )

    assert sent.id == "123.4"
    assert json.loads(ours.pop("body")) == json.loads(base64.b64decode(theirs.pop("body")))
    assert ours["properties"].pop("body_encoding") == "utf-8"
    assert theirs["properties"].pop("body_encoding") == "base64"
    for varying in ("delivery_tag", "reply_to"):
        assert ours["properties"].pop(varying)
        assert theirs["properties"].pop(varying)
    for message in (ours, theirs):
        for header in VARIES:
            message["headers"].pop(header)
    assert ours == theirs


def test_every_script_loads(redis):
    for file in Path("shared/ledger/lua").glob("*.lua"):
        if file.stem != "common":
            assert redis.script_load(source(file.stem))


def test_nothing_that_loses_doubles_or_ends_is_switched_on():
    conf = make_celery("redis://nowhere/0", {"default"}).conf

    # Late acks: an outage ends the worker (Celery 5.7.0), a dropped connection doubles its work.
    assert conf.task_acks_late is False
    assert conf.worker_cancel_long_running_tasks_on_connection_loss is False
    # What is acknowledged may be restored: the ledger alone says what is sent again.
    assert all(queue.no_ack for queue in conf.task_queues)
    # A prefetched message would wait in a busy worker.
    assert conf.worker_disable_prefetch is True
    # An outage may last longer than a hundred tries, and a failover answers with errors.
    assert conf.broker_connection_max_retries is None
    assert conf.broker_channel_error_retry is True
    # Bodies are data.
    assert conf.accept_content == ["json"]
    assert conf.task_ignore_result
    assert not conf.result_backend
