"""Customers who ask for another job for each that ends: as many as ever are in the service."""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import httpx

from infra.demo.receiver import Receiver
from infra.local.child import ROOT

PHOTO = ROOT / "infra" / "demo" / "astronaut.jpg"
AT_A_TIME = 16
"""Requests."""
PATIENCE = 300.0
"""Seconds for any number of jobs."""


@dataclass
class Customers:
    """All of them."""

    http: httpx.Client
    key: str
    receiver: Receiver
    steps: int
    ends: list[float] = field(default_factory=list)
    """When webhooks came."""
    over: threading.Event = field(default_factory=threading.Event)
    numbers: Iterator[int] = field(default_factory=count)

    def ask(self) -> None:
        """For a picture; raises RuntimeError if the door does not take it."""
        # Not all the same, or workers would end them in bursts.
        steps = self.steps + (next(self.numbers) % 3 - 1) * max(1, self.steps // 16)
        body = {
            "key": self.key,
            "prompt": "a cat",
            "width": 64,
            "height": 64,
            "num_inference_steps": steps,
            "strength": 1,
            "webhook": self.receiver.webhook_url,
        }
        headers = {"Prefer": "respond-async"}
        answer = self.http.post("/api/v3/text2img", json=body, headers=headers)
        if answer.status_code != httpx.codes.OK:
            raise RuntimeError(f"expected a job that waits, got {answer.text}")

    def live(self) -> None:
        """One customer: for each picture that comes, ask for another."""
        while not self.over.is_set():
            if hook := self.receiver.next_delivery(timeout=0.2):
                if (status := json.loads(hook.body)["status"]) != "success":
                    raise RuntimeError(f"expected a picture, got {status}")
                self.ends.append(hook.at)
                self.ask()

    def await_ends(self, more: int) -> None:
        """Return when so many more jobs have ended; raises TimeoutError when they do not."""
        wanted = len(self.ends) + more
        deadline = time.monotonic() + PATIENCE
        while len(self.ends) < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{wanted - len(self.ends)} jobs are missing")
            time.sleep(0.01)


@contextmanager
def demand(url: str, key: str, *, jobs: int, steps: int) -> Iterator[Customers]:
    """So many jobs, of so many steps each, are in the service all the time."""
    with (
        Receiver(PHOTO) as receiver,
        httpx.Client(base_url=url, timeout=30) as http,
        ThreadPoolExecutor(AT_A_TIME) as threads,
    ):
        customers = Customers(http, key, receiver, steps)
        living = []
        try:
            for _ in range(jobs):
                customers.ask()
            living = [threads.submit(customers.live) for _ in range(AT_A_TIME)]
            yield customers
        finally:
            customers.over.set()
            for one in living:
                one.result()
