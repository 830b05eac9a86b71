"""What the loop takes from the outbox."""

import asyncio

from shared.ledger.events import end
from tests.jobs import make_job
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
