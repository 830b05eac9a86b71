"""A courier's work step by step, for tests of single attempts."""

import asyncio
import json
from dataclasses import dataclass
from datetime import timedelta

from shared.egress import Guard, Outbound
from shared.ledger.connect import connect_for_requests
from shared.ledger.deliveries import Deliveries
from shared.tenants import Tenants
from tests.jobs import RESULT, make_job
from tests.ledger import Ledger
from worker.courier.config import CourierSettings
from worker.courier.delivery import Courier


@dataclass
class Desk:
    """A courier's work, step by step."""

    ledger: Ledger
    settings: CourierSettings

    def finished(self, **fields):
        """A job that succeeded, with its webhook due."""
        job = make_job(**fields)
        self.ledger.attempts.succeed(self.ledger.running(job), RESULT)
        return job

    def deliver_due(self) -> None:
        """One attempt at every webhook that is due."""
        asyncio.run(self._deliver_due())

    async def _deliver_due(self) -> None:
        redis = connect_for_requests(self.settings.redis_url)
        async with redis, Outbound(Guard.from_settings(self.settings)) as outbound:
            deliveries = Deliveries(redis, self.settings)
            courier = Courier(
                deliveries=deliveries,
                outbound=outbound,
                tenants=Tenants.read(self.settings),
                links=lambda keys: [f"https://img.example.com/{key}" for key in keys],
                settings=self.settings,
            )
            for delivery in await deliveries.claim(10, lease=timedelta(minutes=1)):
                await courier.deliver(delivery)

    def log(self, job) -> list[dict]:
        """What the job's owner may see of the attempts."""
        return [json.loads(e) for e in self.ledger.redis.lrange(f"attempts:{job.id}", 0, -1)]
