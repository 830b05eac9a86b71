"""Clients that submit, look, cancel and pry, by a seed, and note what they are told."""

import base64
import json
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.chaos.history import STATES, Accepted, Asked, History, Odd, Opened, Seen, Stranger
from tests.chaos.sites import Tenant, picture

PATIENCE = 8.0
"""Seconds for an answer; then the client asks again."""
OUTAGES = (429, 503)
"""Statuses that say: come back later."""
POISON = ("kill@2", "hang@2", "raise@2", "nothing@0")
POISONED = 0.06
"""Of the jobs; most of them only raise."""
IMPATIENT = 0.1
"""Of the requests for a job."""
PHOTO = base64.b64encode(picture()).decode()


@dataclass
class Client:
    """One thread of a tenant's program."""

    name: str
    tenant: Tenant
    url: str
    history: History
    rng: random.Random
    image_url: str
    strangers: Callable[[], list[tuple[str, int]]]
    """(tenant, id) of every accepted job."""
    chaos: threading.Event
    """Set while new jobs are wanted."""
    over: threading.Event
    """Set when no answer will come any more."""
    jobs: list[int] = field(default_factory=list)
    opened: set[int] = field(default_factory=set)
    asked: int = 0

    def live(self) -> None:
        """Act until the chaos is over; then no request of its own is open any more."""
        self._http = httpx.Client(base_url=self.url, timeout=PATIENCE)
        actions = (self.submit, self.look, self.cancel, self.pry)
        with self._http:
            while self.chaos.is_set():
                (action,) = self.rng.choices(actions, (40, 45, 8, 7))
                action()
                time.sleep(self.rng.uniform(0.05, 0.6))

    def look_at_all(self) -> None:
        """See how each job ended."""
        with httpx.Client(base_url=self.url, timeout=60) as self._http:
            for job_id in self.jobs:
                self._look_v1(job_id)
                self._look_v3(job_id)

    def submit(self) -> None:
        """Ask for a job, again and again under the same key, until there is an answer."""
        self.asked += 1
        mark = f"{self.name}.{self.asked}"
        with_webhook = self.rng.random() < 0.7
        body = self._body(mark)
        if with_webhook:
            body["webhook"] = f"{self.tenant.receiver}/hook"
        ask = self.rng.choice((self._ask_v1, self._ask_v3))
        self.history.add(Asked(mark, self.tenant.name, with_webhook))
        headers = {"Idempotency-Key": mark, "Prefer": self.rng.choice(("wait=2", "respond-async"))}
        if self.rng.random() < 0.05:
            headers["Cancel-After"] = str(self.rng.uniform(0.2, 3))
        while not self.over.is_set():
            began = time.monotonic()
            answer = ask(body, headers)
            if answer is not None and answer.status_code in (200, 202):
                told = answer.json()
                self.history.add(Accepted(mark, told["id"]))
                self.jobs.append(told["id"])
                self._note(told, began)
                return
            time.sleep(self.rng.uniform(0.1, 0.5))

    def look(self) -> None:
        """See how a job does, of any age."""
        if self.jobs:
            recent = self.jobs[-10:] if self.rng.random() < 0.7 else self.jobs
            self.rng.choice((self._look_v1, self._look_v3))(self.rng.choice(recent))

    def cancel(self) -> None:
        """Take back one of the last jobs."""
        if not self.jobs or self.rng.random() < 0.5:
            return
        job_id, began = self.rng.choice(self.jobs[-3:]), time.monotonic()
        answer = self._send("DELETE", f"/v1/jobs/{job_id}", headers=self._bearer)
        if answer is not None and self._is(answer, 200, 409) and answer.status_code == 200:
            self._note(answer.json(), began)

    def pry(self) -> None:
        """Try to read, or to cancel, what is another tenant's."""
        others = [job for name, job in self.strangers() if name != self.tenant.name]
        if not others:
            return
        job_id = self.rng.choice(others)
        method = self.rng.choice(("GET", "DELETE", "POST"))
        answers = [self._pry(method, one) for one in (job_id, self.rng.randrange(1, 2**52))]
        if None not in answers:
            self.history.add(Stranger(job_id, self.tenant.name, *answers))

    def _pry(self, method: str, job_id: int) -> str | None:
        if method == "POST":
            body = {"key": self.tenant.key}
            answer = self._send(method, f"/api/v3/fetch/{job_id}", json=body)
        else:
            answer = self._send(method, f"/v1/jobs/{job_id}", headers=self._bearer)
        if answer is None or answer.status_code in OUTAGES:
            return None
        text = re.sub(rf"\b{job_id}\b", "ID", answer.text)
        return f"{answer.status_code} " + re.sub(r'"request_id": *"[^"]*"', "", text)

    def _body(self, mark: str) -> dict[str, Any]:
        rng = self.rng
        prompt = f"a picture for {mark}"
        if rng.random() < POISONED:
            (poison,) = rng.choices(POISON, (1, 1, 4, 2))
            prompt += f" {poison}"
        return {
            "prompt": prompt,
            "enhance_prompt": False,
            "init_image": self.image_url if rng.random() < 0.3 else PHOTO,
            "width": 64,
            "height": 64,
            "samples": rng.choice((1, 1, 2)),
            "num_inference_steps": rng.randint(4, 50),
            "strength": 1.0,
            "seed": rng.randrange(2**24),
            "track_id": mark,
        }

    def _impatience(self) -> dict[str, float]:
        """Now and then it hangs up at once, and never hears that its job was accepted."""
        return {"timeout": 0.2} if self.rng.random() < IMPATIENT else {}

    @property
    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tenant.key}"}

    def _ask_v1(self, body: dict[str, Any], headers: dict[str, str]) -> httpx.Response | None:
        options = self._impatience() | {"json": body, "headers": self._bearer | headers}
        answer = self._send("POST", "/v1/img2img", **options)
        return answer if answer is not None and self._is(answer, 200, 202) else None

    def _ask_v3(self, body: dict[str, Any], headers: dict[str, str]) -> httpx.Response | None:
        body = body | {"key": self.tenant.key, "enhance_prompt": "no"}
        options = self._impatience() | {"json": body, "headers": headers}
        answer = self._send("POST", "/api/v3/img2img", **options)
        return answer if answer is not None and self._is(answer, 200) else None

    def _look_v1(self, job_id: int) -> None:
        began = time.monotonic()
        answer = self._send("GET", f"/v1/jobs/{job_id}", headers=self._bearer)
        if answer is not None and self._is(answer, 200):
            self._note(answer.json(), began)

    def _look_v3(self, job_id: int) -> None:
        began = time.monotonic()
        answer = self._send("POST", f"/api/v3/fetch/{job_id}", json={"key": self.tenant.key})
        if answer is not None and self._is(answer, 200):
            self._note(answer.json(), began)

    def _note(self, told: dict[str, Any], began: float) -> None:
        state = STATES[told["status"]]
        links = [image["url"] for image in told.get("images", ())]
        if state != "open":
            links = links or told.get("output", [])
        names = tuple(link.rpartition("/")[2] for link in links)
        self.history.add(Seen(told["id"], began, time.monotonic(), state, names))
        if state == "succeeded" and told["id"] not in self.opened:
            self.opened.add(told["id"])
            self._open(told["id"], self.rng.choice(links))

    def _open(self, job_id: int, link: str) -> None:
        answer = self._send("GET", "/" + link.partition("//")[2].partition("/")[2])
        status = answer.status_code if answer is not None else None
        body = answer.content if answer is not None else b""
        self.history.add(Opened(job_id, link, status, body))

    def _is(self, answer: httpx.Response, *wanted: int) -> bool:
        """Whether it is one of these; else it has to be an outage, and say when to come back."""
        status = answer.status_code
        if status in wanted:
            return True
        if status not in OUTAGES or "retry-after" not in answer.headers:
            request = answer.request
            path = re.sub(r"\d{6,}", "ID", request.url.path)
            self.history.add(Odd(f"{request.method} {path}: {status} {answer.text[:200]}"))
        return False

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response | None:
        try:
            return self._http.request(method, path, **options)
        except httpx.TransportError:
            return None


def clients(
    tenants: list[Tenant], each: int, make: Callable[[str, Tenant], Client]
) -> Iterator[Client]:
    """So many for each tenant."""
    return (make(f"{tenant.name}-{n}", tenant) for tenant in tenants for n in range(each))


def keys_file(tenants: list[Tenant]) -> str:
    """What the service is told of them."""
    return json.dumps(
        [
            {"tenant": tenant.name, "key": tenant.key, "webhook_secret": tenant.secret}
            for tenant in tenants
        ]
    )
