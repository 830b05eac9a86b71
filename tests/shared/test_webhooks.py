import base64
import json
import random
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from shared.webhooks import DELAYS, new_message_id, new_secret, retry_delay, signed_headers

BODY = '{"status":"success","track_id":"é"}'.encode()


def test_a_receiver_with_the_stock_library_accepts_a_signed_webhook():
    secret = new_secret()

    headers = signed_headers(new_message_id(), BODY, [secret], time.time())

    assert Webhook(secret).verify(BODY, headers) == json.loads(BODY)


def test_either_secret_verifies_while_one_replaces_the_other():
    old, new = new_secret(), new_secret()

    headers = signed_headers(new_message_id(), BODY, [new, old], time.time())

    Webhook(old).verify(BODY, headers)
    Webhook(new).verify(BODY, headers)


@pytest.mark.parametrize(
    ("body", "age"), [(BODY + b" ", 0), (BODY, 6 * 60)], ids=["tampered", "stale"]
)
def test_a_receiver_rejects_what_was_not_sent_like_this_just_now(body: bytes, age: float):
    secret = new_secret()

    headers = signed_headers(new_message_id(), BODY, [secret], time.time() - age)

    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body, headers)


def test_a_retry_keeps_the_id_and_changes_the_timestamp_and_the_signature():
    message_id, secret = new_message_id(), new_secret()

    first = signed_headers(message_id, BODY, [secret], 1000.9)
    second = signed_headers(message_id, BODY, [secret], 1005.0)

    assert first["webhook-id"] == second["webhook-id"] == message_id
    assert (first["webhook-timestamp"], second["webhook-timestamp"]) == ("1000", "1005")
    assert first["webhook-signature"] != second["webhook-signature"]


def test_a_webhook_without_a_secret_is_not_signed_but_can_be_told_apart():
    headers = signed_headers("msg_1", BODY, [], 1000)

    assert "webhook-signature" not in headers
    assert headers["webhook-id"] == "msg_1"
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_not base64!",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        base64.b64encode(bytes(32)).decode(),
        "whsec_é",
    ],
)
def test_a_secret_that_is_none_is_not_used(secret: str):
    with pytest.raises(ValueError, match="24 to 64 bytes"):
        signed_headers("msg_1", BODY, [secret], 1000)


def test_ids_are_unguessable_and_cannot_shift_the_signed_text():
    ids = {new_message_id() for _ in range(100)}

    assert len(ids) == 100
    assert all(len(id_) == 4 + 32 and "." not in id_ for id_ in ids)


def test_retries_spread_over_sixteen_hours_and_then_end():
    delays = [retry_delay(n, None, random.Random(n)) for n in range(1, len(DELAYS) + 2)]

    assert delays.pop() is None
    for delay, planned in zip(delays, DELAYS, strict=True):
        assert delay is not None
        assert 0.8 * planned <= delay <= 1.2 * planned
    assert 15 * 3600 < sum(DELAYS) < 17 * 3600


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [(100, 100, 100), (1, 4, 6), (10**9, 3600, 3600), (None, 4, 6)],
    ids=["delays", "does not hasten", "at most an hour", "nothing asked"],
)
def test_the_receiver_can_put_the_next_attempt_off(asked: float | None, least: int, most: int):
    delay = retry_delay(1, asked, random.Random(0))

    assert delay is not None
    assert least <= delay <= most
