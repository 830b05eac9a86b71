"""Customers of the whole service: they send requests, take webhooks and read what happened when."""

import json
import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from redis import Redis

from infra.bench.arrivals import paced
from infra.demo.receiver import Receiver
from infra.local import Stack

PHOTO = Path(__file__).parents[1] / "demo" / "astronaut.jpg"
SIDE = 512
PATIENCE = 120
"""Seconds without any webhook."""
SENDERS = 16
LOOK_SECONDS = 0.02
CLAIMED = "accept to claim"

Sent = tuple[float, float]
"""When it was sent, and when its webhook came, in seconds since the epoch."""


@dataclass(frozen=True)
class Request:
    """What differs between requests."""

    steps: int
    strength: float
    guidance: float
    seed: int


@dataclass(frozen=True)
class Moments:
    """When a request passed each point, in seconds since the epoch, and what it took between them.

    `accepted`, `claimed` and `finished` are the ledger's, to half a millisecond. The last two lie
    within the worker's stages `claim` and `finish`, of which half is counted: not all of it twice.
    """

    sent: float
    accepted: float
    claimed: float
    finished: float
    notified: float
    stages: dict[str, float]
    """Seconds, as worker.gpu.stages names them."""

    @property
    def to_engine(self) -> float:
        """From the ledger's acceptance until the engine has the sample."""
        claiming = self.claimed - self.accepted + self._of("claim") / 2
        return claiming + self._of("fetch", "decode", "submit")

    @property
    def to_first_step(self) -> float:
        """The same until its first step; it waits for those of others."""
        return self.to_engine + self._of("wait")

    @property
    def to_webhook(self) -> float:
        """From the last step until the receiver has the webhook."""
        finishing = self._of("finish") / 2 + self.notified - self.finished
        return self._of("develop", "encode", "upload") + finishing

    def table(self) -> dict[str, float]:
        """All stages in order."""
        return {
            "send to accept": self.accepted - self.sent,
            CLAIMED: self.claimed - self.accepted,
            **self.stages,
            "finish to webhook": self.notified - self.finished,
        }

    def _of(self, *stages: str) -> float:
        return sum(self.stages[stage] for stage in stages)


def _seconds(milliseconds: str) -> float:
    """The ledger cuts off what is more than a whole one: half of it, on average."""
    return (int(milliseconds) + 0.5) / 1000


def requests(count: int, *, seed: int) -> list[Request]:
    """Mixed steps, strengths and guidance, all of one size."""
    draw = random.Random(seed)
    return [
        Request(
            steps=draw.choice((20, 25, 30, 40, 50)),
            strength=draw.choice((0.5, 0.6, 0.7, 0.8, 0.9)),
            guidance=draw.choice((5.0, 7.5, 9.0)),
            seed=draw.randrange(2**31),
        )
        for _ in range(count)
    ]


class Customers:
    """They share one receiver, which also has the photo that every request names."""

    def __init__(self, stack: Stack, worker: str) -> None:
        self._stack = stack
        self._worker = worker
        self._receiver = Receiver(PHOTO)
        self._log_at = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        """Within it they can send."""
        limits = httpx.Limits(max_connections=SENDERS, max_keepalive_connections=SENDERS)
        with (
            self._receiver,
            httpx.Client(base_url=self._stack.url, timeout=30, limits=limits) as self._client,
            ThreadPoolExecutor(SENDERS) as self._senders,
            Redis.from_url(self._stack.redis_url, decode_responses=True) as self._redis,
        ):
            yield

    def send(self, line: Sequence[Request], times: Sequence[float]) -> dict[int, Sent]:
        """Send each at its time, in seconds from now; return when all webhooks are here, by id."""
        sending = [
            self._senders.submit(self._post, request)
            for request, _ in zip(line, paced(times), strict=True)
        ]
        sent = dict(one.result() for one in sending)
        notified = self._webhooks(len(line))
        return {job_id: (sent[job_id], notified[job_id]) for job_id in sent}

    def _post(self, request: Request) -> tuple[int, float]:
        body = {
            "key": self._stack.key,
            "prompt": "photo@0, an astronaut in front of the stars, oil painting",
            "negative_prompt": "blurry, low quality",
            "init_image": self._receiver.photo_url,
            "width": SIDE,
            "height": SIDE,
            "samples": 1,
            "num_inference_steps": request.steps,
            "strength": request.strength,
            "guidance_scale": request.guidance,
            "seed": request.seed,
            "webhook": self._receiver.webhook_url,
        }
        sent = time.time()
        answer = self._client.post("/api/v3/img2img", json=body).json()
        if answer["status"] != "processing":
            raise RuntimeError(f"expected a job that waits, got {answer}")
        return answer["id"], sent

    def _webhooks(self, count: int) -> dict[int, float]:
        """When each came; raises TimeoutError when none comes any more."""
        epoch, came = time.time() - time.monotonic(), {}
        while len(came) < count:
            delivery = self._receiver.next_delivery(timeout=PATIENCE)
            if delivery is None:
                raise TimeoutError(f"{len(came)} of {count} webhooks came")
            body = json.loads(delivery.body)
            if body["status"] != "success":
                raise RuntimeError(f"expected a picture, got {body}")
            came.setdefault(body["id"], epoch + delivery.at)
        return came

    def moments(self, sent: Mapping[int, Sent]) -> list[Moments]:
        """What the service has noted of them."""
        stages = self._stages(sent)
        with self._redis.pipeline(transaction=False) as pipe:
            for job_id in sent:
                pipe.hmget(f"job:{job_id}", "created", "started", "finished")
            records: list[Any] = pipe.execute()
        return [
            Moments(began, *map(_seconds, record), notified, stages[job_id])
            for (job_id, (began, notified)), record in zip(sent.items(), records, strict=True)
        ]

    def _stages(self, ids: Collection[int]) -> dict[int, dict[str, float]]:
        """As the worker logs them, the last ones perhaps a moment after their webhooks."""
        found: dict[int, dict[str, float]] = {}
        with self._stack.processes[self._worker].log.open() as log:
            log.seek(self._log_at)
            while not found.keys() >= set(ids):
                line = log.readline()
                if not line.endswith("\n"):
                    log.seek(self._log_at)
                    time.sleep(LOOK_SECONDS)
                    continue
                self._log_at = log.tell()
                if '"job finished"' in line:
                    said = json.loads(line)
                    took = said["milliseconds"].items()
                    found[said["job_id"]] = {stage: ms / 1000 for stage, ms in took}
        return found
