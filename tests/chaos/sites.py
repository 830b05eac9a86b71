"""The customers' own web servers: a receiver of webhooks for each tenant, and a host of images."""

import io
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from PIL import Image
from standardwebhooks import Webhook, WebhookVerificationError

from tests.chaos.history import STATES, History, Hook, Seen
from tests.servers import Reply, Request, http_server

HANG_SECONDS = 3.0
"""Longer than a courier waits for an answer in these runs."""


@dataclass
class Manners:
    """How servers answer; set `bad` from any thread."""

    rng: random.Random
    bad: float = 0.2
    """Of the requests, these are answered badly."""
    ended: threading.Event = field(default_factory=threading.Event)
    """Whoever hangs lets go."""

    def choose(self, *ways: str) -> str:
        """One of the bad ways, or none."""
        return self.rng.choice(ways) if self.rng.random() < self.bad else ""


@dataclass(frozen=True)
class Tenant:
    """A customer: key, secret, and where its webhooks go."""

    name: str
    key: str
    secret: str
    receiver: str = ""


def picture() -> bytes:
    """A small PNG."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(file, "PNG")
    return file.getvalue()


def receiver(tenant: Tenant, history: History, manners: Manners) -> Callable[[Request], Reply]:
    """Takes a tenant's webhooks, checks their signatures, and does not always say thank you."""
    verifier = Webhook(tenant.secret)

    def receive(request: Request) -> Reply:
        now = time.monotonic()
        if len(request.body) < int(request.headers.get("content-length", 0)):
            raise ConnectionResetError  # its courier was killed in the middle of it
        way = manners.choose("500", "hang", "reset", "redirect", "slow", "429")
        if way == "429" and manners.rng.random() < 0.2:
            way = "410"
        answer = {"": 204, "slow": 204, "redirect": 302, "hang": 0, "reset": 0}.get(way)
        answer = int(way) if answer is None else answer
        body = json.loads(request.body)
        state = STATES[body["status"]]
        names = tuple(link.rpartition("/")[2] for link in body.get("output", ()))
        history.add(
            Hook(
                tenant=tenant.name,
                mark=body["track_id"],
                job_id=body["id"],
                message_id=request.headers.get("webhook-id", ""),
                state=state,
                is_signed=_is_signed(verifier, request),
                answer=answer,
            )
        )
        history.add(Seen(body["id"], now, now, state, names))
        return _misbehave(way, manners) or Reply(answer, headers={"Location": "/elsewhere"})

    return receive


def image_host(manners: Manners) -> Callable[[Request], Reply]:
    """Serves one picture, at its best."""
    image = picture()

    def serve(_: Request) -> Reply:
        way = manners.choose("404", "hang", "reset", "cut", "slow", "500")
        if way == "cut":
            return Reply(200, image[: len(image) // 2], {"Content-Length": str(len(image))})
        if way in ("404", "500"):
            return Reply(int(way))
        return _misbehave(way, manners) or Reply(200, image)

    return serve


def _misbehave(way: str, manners: Manners) -> Reply | None:
    if way == "slow":
        manners.ended.wait(manners.rng.uniform(0.1, 1))
    if way == "hang":
        manners.ended.wait(HANG_SECONDS)
    if way in ("hang", "reset"):
        raise ConnectionResetError
    return None


def _is_signed(verifier: Webhook, request: Request) -> bool:
    try:
        verifier.verify(request.body, request.headers)
    except WebhookVerificationError:
        return False
    return True


@contextmanager
def sites(
    tenants: list[Tenant], history: History, manners: Manners
) -> Iterator[tuple[list[Tenant], str]]:
    """Start them all; the tenants with their receivers, and the image host's address."""
    with ExitStack() as exits:
        exits.callback(manners.ended.set)
        served = [
            Tenant(
                tenant.name,
                tenant.key,
                tenant.secret,
                exits.enter_context(http_server(receiver(tenant, history, manners))).url,
            )
            for tenant in tenants
        ]
        host = exits.enter_context(http_server(image_host(manners)))
        yield served, host.url
