"""From the request to the picture and the webhook, through every real part."""

import json

import pytest
from standardwebhooks import Webhook

from tests.e2e.conftest import pixels


def test_a_request_is_answered_with_pictures_of_the_asked_size(customer):
    answer = customer.post(width="96", height="64", samples="2")

    assert [pixels(png).size for png in customer.pngs(answer)] == [(96, 64), (96, 64)]
    assert answer["meta"]["seeds"] == [1, 2]
    assert answer["generationTime"] > 0


def test_with_a_webhook_the_answer_is_processing_and_the_webhook_brings_the_result(customer):
    track_id = {"order": 7, "tags": ["a"]}
    answer = customer.post(webhook=f"{customer.site.url}/hook", track_id=track_id)
    ((headers, raw),) = customer.webhooks(1)

    body = json.loads(raw)
    Webhook(customer.stack.webhook_secret).verify(raw, headers)
    assert (answer["status"], body["status"]) == ("processing", "success")
    assert (body["id"], body["track_id"]) == (answer["id"], track_id)
    assert headers["content-type"] == "application/json"
    assert len(customer.pngs(body)) == 1
    # By now it may be noted that the webhook was delivered.
    fetched = customer.fetch(answer["id"]) | {"webhook_status": ""}
    assert fetched == {name: value for name, value in body.items() if name != "track_id"}


def test_a_failure_has_its_webhook_too(customer):
    answer = customer.post(
        init_image=f"{customer.site.url}/missing.png",
        webhook=f"{customer.site.url}/hook",
        track_id=5,
    )
    ((headers, raw),) = customer.webhooks(1)

    body = json.loads(raw)
    Webhook(customer.stack.webhook_secret).verify(raw, headers)
    assert (body["status"], body["id"], body["track_id"]) == ("failed", answer["id"], 5)
    assert body["message"] == "Unable to fetch image from provided URL (init_image: HTTP 404)"


def test_the_init_image_may_be_an_address(customer):
    by_address = customer.post(init_image=f"{customer.site.url}/photo.jpg")
    inline = customer.post()

    assert customer.pngs(by_address) == customer.pngs(inline)
    assert by_address["meta"]["init_image"] == f"{customer.site.url}/photo.jpg"


def test_without_a_size_the_picture_has_the_size_of_the_init_image(customer):
    answer = customer.post(width=None, height=None, strength=0)

    assert pixels(customer.pngs(answer)[0]).size == (512, 512)


def test_a_seed_gives_the_same_bytes_twice_and_another_seed_others(customer):
    first, again, other = (customer.pngs(customer.post(seed=seed)) for seed in (3, 3, 4))

    assert first == again
    assert first != other


def test_outputs_can_be_base64_text(customer):
    link = customer.post(base64="yes")["output"][0]
    text = customer.http.get(link)

    assert link.endswith(".base64")
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text.startswith("iVBOR")


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        ("/missing.png", "HTTP 404"),
        ("/page.html", "init_image is not a PNG, JPEG or WebP image"),
    ],
)
def test_an_image_that_cannot_be_used_fails_the_job_with_the_reason(customer, image, reason):
    answer = customer.post(init_image=customer.site.url + image)

    assert answer["status"] == "failed"
    assert reason in answer["message"]
    assert answer["output"] == []


def test_a_broken_mask_is_named(customer):
    answer = customer.post(mask_image=f"{customer.site.url}/page.html")

    assert answer["message"] == "mask_image is not a PNG, JPEG or WebP image"
