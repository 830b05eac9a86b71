"""What customers do, of everything something: each job in its own way, and its end checked."""

import base64
import random
from pathlib import Path
from typing import Any

import httpx

from infra.demo.mailbox import Mailbox
from infra.demo.receiver import Receiver

PATIENCE = 120.0
"""Seconds until a job without an end is lost."""
SMALL = {"width": 64, "height": 64, "num_inference_steps": 8, "enhance_prompt": "no"}


class Surprise(Exception):
    """A job did not end as it had to; says how it did."""


class Customers:
    """Any number of them, one request after the other each."""

    def __init__(
        self, http: httpx.AsyncClient, key: str, mailbox: Mailbox, receiver: Receiver, photo: Path
    ) -> None:
        self._http = http
        self._mailbox = mailbox
        self._fields = SMALL | {"key": key}
        self._bearer = {"Authorization": f"Bearer {key}"}
        self._inline = base64.b64encode(photo.read_bytes()).decode()
        self._photo_url, self._webhook_url = receiver.photo_url, receiver.webhook_url
        self._ways = {
            self._inline_image: 30,
            self._image_by_link: 20,
            self._no_image: 15,
            self._waits_and_looks: 12,
            self._follows: 10,
            self._repeats: 4,
            self._changes_its_mind: 4,
            self._wrong_link: 2,
            self._wrong_field: 2,
            self._breaks: 1,
        }

    async def do_one(self, number: int) -> str:
        """A job from request to end, in the way that its number chooses; raises Surprise.

        Returns the name of the way.
        """
        ways = random.Random(number).choices([*self._ways], [*self._ways.values()])
        track_id = f"soak-{number}"
        await ways[0](track_id)
        self._mailbox.forget(track_id)
        return ways[0].__name__.removeprefix("_")

    async def _inline_image(self, track_id: str) -> None:
        await self._post("img2img", track_id, init_image=self._inline)
        await self._ends(track_id, "success")

    async def _image_by_link(self, track_id: str) -> None:
        await self._post("img2img", track_id, init_image=self._photo_url)
        await self._ends(track_id, "success")

    async def _no_image(self, track_id: str) -> None:
        await self._post("text2img", track_id, samples=2)
        await self._ends(track_id, "success")

    async def _waits_and_looks(self, track_id: str) -> None:
        fields = {"init_image": self._inline, "webhook": None}
        answer = await self._post("img2img", track_id, headers={"Prefer": "wait=50"}, **fields)
        _expect(answer["status"] == "success", answer)
        again = await self._http.post(f"/api/v3/fetch/{answer['id']}", json=self._fields)
        _expect(again.json()["output"] == answer["output"], again.text)
        picture = await self._http.get(answer["output"][0])
        _expect(picture.headers["content-type"] == "image/png", picture.status_code)

    async def _follows(self, track_id: str) -> None:
        answer = await self._post("img2img", track_id, init_image=self._inline)
        events = f"/v1/jobs/{answer['id']}/events"
        last = ""
        async with self._http.stream("GET", events, headers=self._bearer) as stream:
            async for line in stream.aiter_lines():
                last = line if line.startswith("event: ") else last
        _expect(last == "event: succeeded", last)
        await self._ends(track_id, "success")

    async def _repeats(self, track_id: str) -> None:
        headers = {"Idempotency-Key": track_id}
        for _ in range(2):
            answer = await self._post("img2img", track_id, headers, init_image=self._inline)
        listed = await self._http.get(f"/v1/jobs?track_id={track_id}", headers=self._bearer)
        _expect([job["id"] for job in listed.json()["jobs"]] == [answer["id"]], listed.text)
        await self._ends(track_id, "success")

    async def _changes_its_mind(self, track_id: str) -> None:
        answer = await self._post("img2img", track_id, init_image=self._inline)
        await self._http.delete(f"/v1/jobs/{answer['id']}", headers=self._bearer)
        await self._ends(track_id, "success", "failed")  # it may have been done by then

    async def _wrong_link(self, track_id: str) -> None:
        await self._post("img2img", track_id, init_image=f"{self._photo_url}-not")
        await self._ends(track_id, "failed")

    async def _wrong_field(self, _: str) -> None:
        body = self._fields | {"prompt": "", "init_image": self._inline}
        answer = await self._http.post("/api/v3/img2img", json=body)
        _expect(answer.status_code == httpx.codes.BAD_REQUEST, answer.text)

    async def _breaks(self, track_id: str) -> None:
        await self._post("img2img", track_id, prompt="raise@1", init_image=self._inline)
        await self._ends(track_id, "failed")

    async def _post(
        self, what: str, track_id: str, headers: dict[str, str] | None = None, **fields: Any
    ) -> dict[str, Any]:
        ours = {"prompt": "a cat", "webhook": self._webhook_url, "track_id": track_id}
        body = self._fields | ours | fields
        answer = await self._http.post(f"/api/v3/{what}", json=body, headers=headers)
        _expect(answer.status_code == httpx.codes.OK, answer.text)
        told: dict[str, Any] = answer.json()
        return told

    async def _ends(self, track_id: str, *statuses: str) -> None:
        body = await self._mailbox.first(track_id, seconds=PATIENCE)
        _expect(body["status"] in statuses, body)


def _expect(held: bool, came: object) -> None:
    if not held:
        raise Surprise(str(came)[:500])
