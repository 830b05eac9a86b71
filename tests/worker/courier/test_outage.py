"""A receiver that is down for an hour, on a clock that is moved: nothing waits, nothing is lost."""

import asyncio
import json
from datetime import timedelta

import pytest
from standardwebhooks import Webhook

from shared.egress import Guard, Outbound
from shared.ledger.connect import connect_for_requests
from shared.ledger.deliveries import Deliveries
from shared.ledger.events import end
from shared.tenants import Tenants
from shared.webhooks import DELAYS, PATIENCE
from tests.servers import Reply, http_server
from tests.worker.courier.running import SECRET, delivered, finish, finish_all
from worker.courier.config import CourierSettings
from worker.courier.delivery import Courier
from worker.courier.gate import Gate
from worker.courier.loop import DeliveryLoop

HOUR = 3600.0


class Days:
    """A courier's loop, run whenever a webhook is due, and the time between left out."""

    def __init__(self, ledger, url: str) -> None:
        self.ledger = ledger
        self.now = 0.0
        self.settings = CourierSettings(
            redis_url=url, outbound_allow="127.0.0.1", webhook_secret=SECRET, drain=5
        )

    def until(self, condition) -> None:
        """Go from one due time to the next until it is so."""
        asyncio.run(self._until(condition))

    def replay(self, job) -> bool:
        """As the job's owner asks for."""

        async def replay() -> bool:
            async with connect_for_requests(self.settings.redis_url) as redis:
                return await Deliveries(redis, self.settings).replay(job.id, job.tenant)

        return asyncio.run(replay())

    async def _until(self, condition) -> None:
        redis = connect_for_requests(self.settings.redis_url)
        async with redis, Outbound(Guard.from_settings(self.settings)) as outbound:
            deliveries = Deliveries(redis, self.settings)
            courier = Courier(
                deliveries=deliveries,
                outbound=outbound,
                tenants=Tenants.read(self.settings),
                links=list,
                settings=self.settings,
            )
            gate = Gate(self.settings, clock=lambda: self.now)
            loop = DeliveryLoop(courier, deliveries, gate, self.settings)
            while not condition():
                self._pass(max(0.0, min(self._due_in(), default=0.0)))
                running = asyncio.create_task(loop.run())
                while min(self._due_in(), default=1.0) <= 0:
                    await asyncio.sleep(0.005)
                await end([running])
                await loop.drain()

    def _due_in(self) -> list[float]:
        seconds, microseconds = self.ledger.redis.time()
        outbox = self.ledger.redis.zrange("outbox", 0, -1, withscores=True)
        return [due / 1000 - seconds - microseconds / 1e6 for _, due in outbox]

    def _pass(self, seconds: float) -> None:
        """Time passes, for the courier and for the ledger."""
        self.now += seconds
        for job_id in self.ledger.redis.zrange("outbox", 0, -1):
            self.ledger.redis.zincrby("outbox", -seconds * 1000, job_id)
            self.ledger.redis.hincrby(f"job:{job_id}", "finished", -round(seconds * 1000))


@pytest.fixture
def days(ledger, valkey_server) -> Days:
    return Days(ledger, valkey_server.url)


def test_a_receiver_that_is_back_after_an_hour_gets_all_of_it_once(days, ledger):
    with http_server(lambda _: Reply(204 if days.now > HOUR else 503)) as server:
        jobs = finish_all(ledger, [server.url] * 4)
        days.until(lambda: delivered(ledger, *jobs))

    assert HOUR < days.now < 2 * HOUR
    for job in jobs:
        tries = [r for r in server.requests if json.loads(r.body)["id"] == job.id]
        assert 2 <= len(tries) <= len(DELAYS)
        assert len({(r.headers["webhook-id"], r.body) for r in tries}) == 1
        assert Webhook(SECRET).verify(tries[-1].body, tries[-1].headers)["status"] == "success"
    # The breaker spares it most of the tries that were planned for that hour.
    assert len(server.requests) < 4 * 6


def test_a_receiver_that_never_comes_back_is_given_up_in_less_than_a_day(days, ledger):
    with http_server(lambda _: Reply(500)) as server:
        jobs = finish_all(ledger, [server.url] * 2)
        days.until(lambda: not ledger.redis.zcard("outbox"))

    assert {ledger.record(job).webhook_status for job in jobs} == {"given_up"}
    assert sum(DELAYS) * 0.8 < days.now < 24 * HOUR
    assert ledger.redis.xlen("dead") == 2


def test_what_had_no_turn_for_too_long_is_given_up_and_says_so(days, ledger):
    days.settings = days.settings.model_copy(update={"deliveries_per_host": 1})
    with http_server(lambda _: Reply(204)) as server:
        jobs = finish_all(ledger, [server.url] * 2)
        for job in jobs:
            too_long = timedelta(seconds=PATIENCE + 60) / timedelta(milliseconds=1)
            ledger.redis.hincrby(f"job:{job.id}", "finished", -round(too_long))
        days.until(lambda: not ledger.redis.zcard("outbox"))

    assert sorted(ledger.record(job).webhook_status for job in jobs) == ["delivered", "given_up"]
    ((_, letter),) = ledger.redis.xrange("dead")
    assert json.loads(letter["reason"])["reason"] == "no turn in time"
    assert len(server.requests) == 1


def test_a_replay_brings_the_same_webhook_once_more(days, ledger):
    with http_server(lambda _: Reply(204)) as server:
        job = finish(ledger, server.url)
        days.until(lambda: delivered(ledger, job))

        assert days.replay(job)
        days.until(lambda: delivered(ledger, job))

    first, again = server.requests
    assert first.body == again.body
    assert first.headers["webhook-id"] == again.headers["webhook-id"]
    Webhook(SECRET).verify(again.body, again.headers)
