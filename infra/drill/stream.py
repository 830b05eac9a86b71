"""A customer that sends jobs with webhooks at a steady pace, whatever happens to the service."""

import asyncio
import base64
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from infra.demo.mailbox import Mailbox

TRIES, AGAIN_SECONDS = 20, 0.5
"""Of one request, under one Idempotency-Key: however often it is sent, it starts one job."""


class DrillError(Exception):
    """The drill cannot be held; says why."""


@dataclass(frozen=True)
class Sent:
    """A job that the service accepted."""

    job_id: int
    track_id: str
    at: float
    """By the monotonic clock."""


@dataclass(frozen=True)
class Customer:
    """One tenant, by its key."""

    http: httpx.AsyncClient
    key: str
    photo: Path
    webhook_url: str

    async def send(self, jobs: int, *, rate: float) -> list[Sent]:
        """So many jobs, `rate` a second; raises DrillError when one is refused."""
        begun = time.monotonic()

        async def one(number: int) -> Sent:
            await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
            return await self._send_one()

        return await asyncio.gather(*(one(number) for number in range(jobs)))

    async def result(self, job_id: int) -> dict[str, Any]:
        """What the service says of a job now."""
        answer = await self._try(f"/api/v3/fetch/{job_id}", {"key": self.key}, headers={})
        told: dict[str, Any] = answer.json()
        return told

    async def _send_one(self) -> Sent:
        track_id = f"drill-{uuid.uuid4().hex}"
        body = {
            "key": self.key,
            "prompt": "an astronaut, oil painting",
            "width": 256,
            "height": 256,
            "init_image": base64.b64encode(self.photo.read_bytes()).decode(),
            "webhook": self.webhook_url,
            "track_id": track_id,
        }
        answer = await self._try("/api/v3/img2img", body, {"Idempotency-Key": track_id})
        if answer.status_code != httpx.codes.OK:
            raise DrillError(f"a job was refused with HTTP {answer.status_code}: {answer.text}")
        return Sent(answer.json()["id"], track_id, time.monotonic())

    async def _try(
        self, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> httpx.Response:
        for _ in range(TRIES):
            try:
                answer = await self.http.post(path, json=body, headers=headers)
            except httpx.TransportError:
                pass
            else:
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    return answer
            await asyncio.sleep(AGAIN_SECONDS)
        raise DrillError(f"no answer from {path} in {TRIES} tries")


async def all_told(mailbox: Mailbox, sent: list[Sent], *, seconds: float) -> None:
    """Wait until each job's webhook has come, or the time is over."""
    deadline = time.monotonic() + seconds
    for job in sent:
        try:
            await mailbox.first(job.track_id, seconds=max(0.1, deadline - time.monotonic()))
        except TimeoutError:
            return
