"""What the demo does as a customer would, and what it insists on."""

import io
import json
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from standardwebhooks import Webhook, WebhookVerificationError

from infra.demo.picture import save_before_after, size_of
from infra.demo.receiver import Delivery, Receiver
from infra.demo_model.judge import Seen, see
from infra.demo_model.scenes import SIDE as NATIVE
from infra.demo_model.scenes import Scene, Thing, draw
from infra.local import Stack

PATIENCE = 120.0
"""Seconds until the webhook must be there, or the waiting answer."""
SIDE, SAMPLES = 512, 2
TRACK_ID = 20260714
"""A number, so that it shows whether types survive the way."""
REQUEST = {
    "prompt": "an astronaut in front of the stars, oil painting",
    "negative_prompt": "blurry, low quality",
    "width": str(SIDE),
    "height": str(SIDE),
    "samples": str(SAMPLES),
    "num_inference_steps": "8",
    "strength": 0.2,
    "guidance_scale": 3.0,
    "safety_checker": "yes",
    "enhance_prompt": "yes",
    "seed": 42,
}
DRAWING = Scene((Thing("circle", "red", radius=0.3),), "green")
WISH = Seen(background="yellow", colour="blue", shape="star")
REPAINT = {
    "prompt": f"a {WISH.colour} {WISH.shape} on a {WISH.background} background",
    "width": str(NATIVE),
    "height": str(NATIVE),
    "samples": "1",
    "num_inference_steps": "10",
    "strength": 0.9,
    "guidance_scale": 5.0,
    "enhance_prompt": "yes",
    "seed": 42,
}
"""The demo model's own world: here it can do what it is told."""


class DemoError(Exception):
    """Something did not hold; says what was expected and what came."""


def tell(
    stack: Stack, receiver: Receiver, *, output: Path, photo: Path, say: Callable[[str], None]
) -> None:
    """The whole story; raises `DemoError` where it goes wrong."""
    output.mkdir(exist_ok=True)
    with httpx.Client(base_url=stack.url, timeout=PATIENCE) as client:
        request = {"key": stack.key, "init_image": receiver.photo_url, **REQUEST}
        accepted = _submit(client, {**request, "webhook": receiver.webhook_url})
        say(f"accepted: job {accepted['id']}, eta {accepted['eta']} s, {accepted['fetch_result']}")

        _check_webhook(_await_webhook(receiver), stack.webhook_secret, accepted["id"])
        say(f"webhook delivered, signature right, track_id {TRACK_ID} came back as a number")

        links = _fetch(client, accepted["fetch_result"], stack.key)
        images = [_download(client, link, SIDE) for link in links]
        say(f"fetched: {len(images)} PNG of {SIDE} x {SIDE}")

        drawing = output / "drawing.png"
        repainted = _repaint(client, stack.key, drawing)
        say(f"without a webhook the answer is the result: {REPAINT['prompt']}, it is really there")

    for index, image in enumerate(images):
        (output / f"after-{index}.png").write_bytes(image)
    save_before_after(photo, images, output / "before-after.png")
    save_before_after(drawing, [repainted], output / "drawing-before-after.png")


def _submit(client: httpx.Client, request: dict[str, Any]) -> dict[str, Any]:
    answer = _ask(client, {**request, "track_id": TRACK_ID})
    _expect(answer["status"] == "processing", "a request with a webhook is processing", answer)
    _expect({"id", "fetch_result", "eta"} <= answer.keys(), "it has an id, a link, an eta", answer)
    return answer


def _await_webhook(receiver: Receiver) -> Delivery:
    delivery = receiver.next_delivery(timeout=PATIENCE)
    if delivery is None:
        raise DemoError(f"no webhook within {PATIENCE:.0f} s")
    return delivery


def _check_webhook(delivery: Delivery, secret: str, job_id: int) -> None:
    try:
        Webhook(secret).verify(delivery.body, delivery.headers)
    except WebhookVerificationError as error:
        raise DemoError(f"the webhook's signature is wrong: {error}") from None
    body = json.loads(delivery.body)
    _expect(body["status"] == "success", "the webhook says success", body)
    _expect(body["id"] == job_id, f"the webhook is about job {job_id}", body)
    track_id = body["track_id"]
    same = track_id == TRACK_ID and isinstance(track_id, int)
    _expect(same, f"track_id is the number {TRACK_ID}", body)


def _repaint(client: httpx.Client, key: str, drawing: Path) -> bytes:
    """Have something else made of a drawing, sent inline, in one call; look whether it is that."""
    Image.fromarray(draw(DRAWING)).save(drawing)
    request = {"key": key, "init_image": b64encode(drawing.read_bytes()).decode(), **REPAINT}
    answer = _ask(client, request, headers={"Prefer": "wait=55"})
    _expect(answer["status"] == "success", "a waiting request succeeds", answer)
    png = _download(client, answer["output"][0], NATIVE)
    seen = see(Image.open(io.BytesIO(png)))
    _expect(seen == WISH, f"the picture shows {REPAINT['prompt']}", seen)
    return png


def _fetch(client: httpx.Client, url: str, key: str) -> list[str]:
    answer = client.post(url, json={"key": key}).json()
    _expect(answer["status"] == "success", "the finished job is fetched", answer)
    _expect(len(answer["output"]) == SAMPLES, f"it has {SAMPLES} outputs", answer)
    links: list[str] = answer["output"]
    return links


def _download(client: httpx.Client, link: str, side: int) -> bytes:
    png = client.get(link).raise_for_status().content
    _expect(size_of(png) == (side, side), f"{link} is {side} x {side}", size_of(png))
    return png


def _ask(
    client: httpx.Client, request: dict[str, Any], headers: dict[str, str] | None = None
) -> dict[str, Any]:
    response = client.post("/api/v3/img2img", json=request, headers=headers)
    _expect(response.status_code == httpx.codes.OK, "HTTP 200", response.text)
    answer: dict[str, Any] = response.json()
    return answer


def _expect(held: bool, expectation: str, got: object) -> None:
    if not held:
        raise DemoError(f"expected that {expectation}; got {got}")
