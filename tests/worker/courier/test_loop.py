"""What the loop takes from the outbox."""

import asyncio
from datetime import timedelta

import pytest

from shared.jobs import JobRecord
from shared.ledger.deliveries import Delivery
from shared.ledger.events import end
from tests.jobs import RESULT, make_job
from worker.courier.config import CourierSettings
from worker.courier.gate import Gate
from worker.courier.loop import DeliveryLoop


class Outbox:
    """It is empty, and notes how much was asked of it."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[int] = asyncio.Queue()

    async def claim(self, most: int, *, lease: object) -> list:
        self.asked.put_nowait(most)
        return []

    async def put_off(self, waits: object) -> None:
        """Nothing was taken."""


async def _asked_with(under_way: int, settings: CourierSettings) -> int:
    gate, outbox = Gate(settings, clock=lambda: 0.0), Outbox()
    for number in range(under_way):
        assert gate.enter(make_job(webhook=f"https://{number}.example.com/")) == 0
    running = asyncio.create_task(DeliveryLoop(outbox, outbox, gate, settings).run())
    asked = await outbox.asked.get()
    await end([running])
    return asked


def test_no_more_webhooks_are_taken_than_there_are_places_left():
    assert asyncio.run(_asked_with(4, CourierSettings(deliveries=8))) == 4


class OneWebhook(Outbox):
    """Has one, whose receiver answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        job = make_job(webhook="https://example.com/")
        record = JobRecord(
            job=job, state="succeeded", generation=1, attempts=1, created=0.0, result=RESULT
        )
        self.due = [Delivery(record, "msg", attempt=1, age=0.0, turn=1)]
        self.answers, self.answered = asyncio.Event(), asyncio.Event()

    async def claim(self, most: int, *, lease: object) -> list:
        await super().claim(most, lease=lease)
        due, self.due = self.due, []
        return due

    async def deliver(self, delivery: Delivery) -> bool:
        await self.answers.wait()
        self.answered.set()
        return True


async def _asked_after_one(places: int) -> list[int]:
    """How much was asked for before the webhook's answer, and right after it."""
    settings = CourierSettings(deliveries=places, poll=timedelta(hours=1))
    outbox = OneWebhook()
    running = asyncio.create_task(DeliveryLoop(outbox, outbox, Gate(settings), settings).run())
    asked = [await outbox.asked.get()]
    outbox.answers.set()
    await outbox.answered.wait()
    for _ in range(10):  # turns of the event loop: more than it takes to ask again
        await asyncio.sleep(0)
    while not outbox.asked.empty():
        asked.append(outbox.asked.get_nowait())
    await end([running])
    return asked


@pytest.mark.parametrize(("places", "asked"), [(8, [8]), (1, [1, 1])])
def test_the_outbox_is_asked_again_after_a_webhook_only_if_more_may_be_due(places, asked):
    assert asyncio.run(_asked_after_one(places)) == asked
