"""What operators order, and which workers hear it."""

import asyncio
from datetime import timedelta

import pytest

from shared.config import Settings
from shared.ledger.attempts import Attempts, WorkerRecord
from shared.ledger.connect import connect_for_requests
from shared.ledger.orders import Inbox, LiveWorker, Orders

HOUR = timedelta(hours=1)


def worker(name: str) -> LiveWorker:
    return LiveWorker(name, frozenset({"default"}), frozenset(), frozenset())


@pytest.fixture
def ask(valkey_server, redis):
    """Run what the front door does."""

    def ask(work):
        async def run():
            async with connect_for_requests(valkey_server.url) as client:
                return await work(Orders(client))

        return asyncio.run(run())

    return ask


def give(what, *names, patience=0.0, model_id=""):
    workers = [worker(name) for name in names]
    return lambda orders: orders.give(what, workers, model_id=model_id, patience=patience)


def test_a_worker_reads_each_order_once_and_none_that_is_older_than_it(redis, ask):
    ask(give("drain", "gpu0"))
    inbox = Inbox(redis, "gpu0")
    assert inbox.read() == []

    ask(give("load", "gpu0", model_id="demo"))
    ask(give("forget", "gpu0"))

    assert [(order.what, order.model_id) for order in inbox.read()] == [
        ("load", "demo"),
        ("forget", ""),
    ]
    assert inbox.read() == []


def test_workers_that_do_not_answer_are_named(redis, ask):
    assert ask(give("forget", "gpu1", "gpu0")) == ["gpu0", "gpu1"]


def test_the_door_goes_on_as_soon_as_all_have_answered(redis, ask):
    inboxes = [Inbox(redis, name) for name in ("gpu0", "gpu1")]

    async def both(orders):
        waiting = asyncio.create_task(give("forget", "gpu0", "gpu1", patience=30)(orders))
        while not (heard := [inbox.read() for inbox in inboxes])[0]:
            await asyncio.sleep(0.01)
        for inbox, (order,) in zip(inboxes, heard, strict=True):
            inbox.answer(order, "forgotten")
        return await asyncio.wait_for(waiting, 10)

    assert ask(both) == []


def test_the_door_knows_what_live_workers_say_of_themselves(redis, ask):
    attempts = Attempts(redis, Settings())
    sure = WorkerRecord(
        "gpu0", frozenset({"a", "b"}), slots=2, occupancy=1.0, steps=0,
        models=frozenset({"demo"}), checked=frozenset({"demo", "xl"}),
    )  # fmt: skip
    bare = WorkerRecord("gpu1", frozenset({"a"}), slots=2, occupancy=1.0, steps=0)
    for record in (sure, bare):
        attempts.register(record, lifetime=HOUR)

    found = sorted(ask(lambda orders: orders.workers()), key=lambda one: one.name)

    nothing = frozenset()
    assert found == [
        LiveWorker("gpu0", sure.pools, sure.models, sure.checked),
        LiveWorker("gpu1", bare.pools, nothing, nothing),
    ]


def test_a_worker_that_has_gone_is_not_among_them(redis, ask):
    attempts = Attempts(redis, Settings())
    record = WorkerRecord("gpu0", frozenset({"a"}), slots=2, occupancy=1.0, steps=0)
    attempts.register(record, lifetime=HOUR)
    redis.delete("worker:gpu0")

    assert ask(lambda orders: orders.workers()) == []
