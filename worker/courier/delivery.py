"""One attempt to deliver one webhook, and what follows from it."""

import json
import logging
import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from shared.egress import Answer, Outbound, OutboundError, Refused
from shared.jobs import JobRecord
from shared.ledger.deliveries import Deliveries, Delivery, DeliveryLog
from shared.outcome import Links, outcome
from shared.tenants import Tenants
from shared.webhooks import PATIENCE, retry_delay, signed_headers
from worker.courier.config import CourierSettings
from worker.courier.metrics import DELIVERIES, LATENCY

log = logging.getLogger(__name__)

MAX_BODY = 20 * 2**10
SHORT = 64
"""Characters that are left of each text in `meta` when a body would be larger."""


def webhook_body(record: JobRecord, links: Links) -> bytes:
    """The public API's payload: the result, and the caller's own id with the type it came with."""
    body = outcome(record, links) | {"track_id": record.job.track_id}
    encoded = json.dumps(body).encode()
    if len(encoded) > MAX_BODY and "meta" in body:
        body["meta"] = {name: _short(value) for name, value in body["meta"].items()}
        encoded = json.dumps(body | {"meta": body["meta"] | {"trimmed": True}}).encode()
    return encoded


def _short(value: Any) -> Any:
    return value[:SHORT] if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Courier:
    """Delivers webhooks."""

    deliveries: Deliveries
    outbound: Outbound
    tenants: Tenants
    links: Links
    settings: CourierSettings

    async def deliver(self, delivery: Delivery) -> bool | None:
        """Post it once; 2xx ends it, 410 gives it up, anything else comes back later.

        Returns whether the receiver is well, None where nothing was learned of it.
        """
        started, status, reason, retry_after = time.time(), None, "", None
        try:
            answer = await self._post(delivery)
        except OutboundError as error:
            reason, well = error.reason, None if isinstance(error, Refused) else False
        except Exception:
            # Ours; it counts as an attempt, or it would come back for ever.
            log.exception("webhook not sent", extra={"job_id": delivery.record.job.id})
            reason, well = "internal error", None
        else:
            status, retry_after, well = answer.status, answer.retry_after, _is_well(answer)
        entry = DeliveryLog(
            at=started, seconds=round(time.time() - started, 3), status=status, reason=reason
        )
        await self._settle(delivery, entry, retry_after)
        return well

    async def put_off(self, waits: Iterable[tuple[Delivery, float]]) -> None:
        """Not tried, each is due again after so many seconds; those too old are given up."""
        patient = []
        for delivery, wait in waits:
            if delivery.age > PATIENCE:
                entry = DeliveryLog(at=time.time(), seconds=0, reason="no turn in time")
                await self._give_up(delivery, entry)
            else:
                patient.append((delivery, wait))
        await self.deliveries.put_off(patient)
        DELIVERIES.labels("put_off").inc(len(patient))

    async def _settle(
        self, delivery: Delivery, entry: DeliveryLog, retry_after: float | None
    ) -> None:
        delay = retry_delay(delivery.attempt, retry_after, random.Random())
        ids = _ids(delivery, entry)
        if entry.status is not None and 200 <= entry.status < 300:  # noqa: PLR2004 - any success
            await self.deliveries.delivered(delivery, entry)
            DELIVERIES.labels("delivered").inc()
            LATENCY.observe(delivery.age + entry.seconds)
            log.info("webhook delivered", extra=ids)
        elif entry.status == HTTPStatus.GONE or delay is None:
            await self._give_up(delivery, entry)
        else:
            await self.deliveries.retry(delivery, entry, delay)
            DELIVERIES.labels("retry").inc()
            log.info("webhook comes back", extra=ids | {"delay": delay})

    async def _give_up(self, delivery: Delivery, entry: DeliveryLog) -> None:
        await self.deliveries.give_up(delivery, entry)
        DELIVERIES.labels("given_up").inc()
        log.warning("webhook given up", extra=_ids(delivery, entry))

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


def _is_well(answer: Answer) -> bool:
    """Whether it was the receiver's own word, and not that of one who cannot cope."""
    busy = answer.status == HTTPStatus.TOO_MANY_REQUESTS
    return answer.status < HTTPStatus.INTERNAL_SERVER_ERROR and not busy


def _ids(delivery: Delivery, entry: DeliveryLog) -> dict[str, Any]:
    return {
        "job_id": delivery.record.job.id,
        "attempt": delivery.attempt,
        "status": entry.status,
        "reason": entry.reason,
    }
