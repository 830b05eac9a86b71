"""One attempt to deliver one webhook, and what follows from it."""

import json
import logging
import random
import time
from dataclasses import dataclass

from shared.egress import Answer, Outbound, OutboundError
from shared.jobs import JobRecord
from shared.ledger.deliveries import Deliveries, Delivery, DeliveryLog
from shared.outcome import Links, outcome
from shared.tenants import Tenants
from shared.webhooks import retry_delay, signed_headers
from worker.courier.config import CourierSettings

log = logging.getLogger(__name__)

GONE = 410
"""The receiver's way of saying that nobody is there any more."""


def webhook_body(record: JobRecord, links: Links) -> bytes:
    """The public API's payload: the result, and the caller's own id with the type it came with."""
    body = outcome(record, links) | {"track_id": record.job.track_id}
    return json.dumps(body).encode()


@dataclass(frozen=True, slots=True)
class Courier:
    """Delivers webhooks."""

    deliveries: Deliveries
    outbound: Outbound
    tenants: Tenants
    links: Links
    settings: CourierSettings

    async def deliver(self, delivery: Delivery) -> None:
        """Post it once; 2xx ends it, 410 gives it up, anything else comes back later."""
        started, retry_after = time.time(), None
        try:
            answer = await self._post(delivery)
        except OutboundError as error:
            status, reason = None, error.reason
        except Exception:
            # Ours; it counts as an attempt, or it would come back for ever.
            log.exception("webhook not sent", extra={"job_id": delivery.record.job.id})
            status, reason = None, "internal error"
        else:
            status, reason, retry_after = answer.status, "", answer.retry_after
        entry = DeliveryLog(
            at=started, seconds=round(time.time() - started, 3), status=status, reason=reason
        )
        ids = {"job_id": delivery.record.job.id, "attempt": delivery.attempt, "status": status}
        delay = retry_delay(delivery.attempt, retry_after, random.Random())
        if status is not None and 200 <= status < 300:  # noqa: PLR2004 - any success
            await self.deliveries.delivered(delivery, entry)
            log.info("webhook delivered", extra=ids)
        elif status == GONE or delay is None:
            await self.deliveries.give_up(delivery, entry)
            log.warning("webhook given up", extra=ids | {"reason": reason})
        else:
            await self.deliveries.retry(delivery, entry, delay)
            log.info("webhook comes back", extra=ids | {"reason": reason, "delay": delay})

    async def _post(self, delivery: Delivery) -> Answer:
        job = delivery.record.job
        assert job.webhook is not None
        body = webhook_body(delivery.record, self.links)
        secrets = self.tenants.webhook_secrets(job.tenant)
        return await self.outbound.post(
            job.webhook,
            body,
            signed_headers(delivery.message_id, body, secrets, time.time()),
            seconds=self.settings.webhook_timeout.total_seconds(),
            connect=self.settings.webhook_connect_timeout.total_seconds(),
        )
