"""What a receiver gets: the request, its body and its signatures."""

import asyncio
import json
import re

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from shared.webhooks import new_secret
from tests.jobs import FAILURE, RESULT, make_job
from tests.servers import Reply
from tests.worker.courier.running import SECRET
from worker.courier.config import CourierSettings

TRACK_IDS = [None, 7, 2**53 - 1, 1.5, True, "7", "", [1, "two"], {"order": {"id": 7}}, "ü\u2028"]


def test_a_webhook_is_a_plain_post_of_json(desk):
    head = asyncio.run(_head_of_a_delivery(desk))

    assert head[0] == "POST /hook?order=7 HTTP/1.1"
    assert "content-type: application/json" in head
    assert any(re.fullmatch(r"user-agent: img2img/\S+", line) for line in head)


async def _head_of_a_delivery(desk) -> list[str]:
    """The lines that a receiver reads, in lower case but for the first."""
    read = asyncio.get_running_loop().create_future()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.set_result((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.to_thread(desk.finished, webhook=f"http://127.0.0.1:{port}/hook?order=7")
        await asyncio.to_thread(desk.deliver_due)
        first, *others = (await read).splitlines()
    return [first, *(line.lower() for line in others)]


def test_a_body_that_would_be_too_large_has_short_texts_in_meta_and_says_so(desk, replying):
    server = replying(Reply(204))
    text, track_id = "🚀" * 2000, "é" * 2000
    params = make_job().params.model_copy(
        update={
            "prompt": text,
            "negative_prompt": text,
            "init_image": "https://x.org/" + "a" * 2000,
        }
    )
    job = desk.finished(webhook=server.url, params=params, track_id=track_id)

    desk.deliver_due()

    (request,) = server.requests
    body = json.loads(request.body)
    assert len(request.body) <= 20 * 1024
    assert (body["id"], body["track_id"]) == (job.id, track_id)
    assert body["output"] == [f"https://img.example.com/{key}" for key in RESULT.keys]
    assert body["meta"]["prompt"] == text[:64]
    assert (body["meta"]["seed"], body["meta"]["trimmed"]) == (1, True)


def test_a_body_of_usual_size_is_whole(desk, replying):
    server, prompt = replying(Reply(204)), "a red circle " * 150
    params = make_job().params.model_copy(update={"prompt": prompt})
    desk.finished(webhook=server.url, params=params)

    desk.deliver_due()

    meta = json.loads(server.requests[0].body)["meta"]
    assert meta["prompt"] == prompt
    assert "trimmed" not in meta


@pytest.mark.parametrize("track_id", TRACK_IDS, ids=repr)
def test_the_body_carries_the_callers_id_with_its_type(desk, replying, track_id):
    server = replying(Reply(204))
    job = desk.finished(webhook=server.url, track_id=track_id)

    desk.deliver_due()

    (request,) = server.requests
    body = json.loads(request.body)
    assert (body["track_id"], type(body["track_id"])) == (track_id, type(track_id))
    assert (body["status"], body["id"]) == ("success", job.id)
    assert body["output"] == [f"https://img.example.com/{key}" for key in RESULT.keys]


def test_a_failed_job_says_so(desk, replying):
    server = replying(Reply(204))
    job = make_job(webhook=server.url, track_id="mine")
    desk.ledger.attempts.fail(desk.ledger.running(job), FAILURE)

    desk.deliver_due()

    body = json.loads(server.requests[0].body)
    assert (body["status"], body["track_id"], body["output"]) == ("failed", "mine", [])
    assert body["message"] == body["messege"] == FAILURE.message


def test_every_attempt_sends_the_same_bytes_under_the_same_id_and_verifies(desk, replying):
    server = replying(Reply(500), Reply(503), Reply(200))
    job = desk.finished(webhook=server.url, track_id={"b": 1, "a": "ü"})

    for attempt in range(3):
        if attempt:
            desk.ledger.make_due("outbox", job)
        desk.deliver_due()

    first, *again = server.requests
    assert len(again) == 2
    for request in again:
        assert request.body == first.body
        assert request.headers["webhook-id"] == first.headers["webhook-id"]
    for request in server.requests:
        verified = Webhook(SECRET).verify(request.body, request.headers)
        assert verified["id"] == job.id
        assert request.headers["content-type"] == "application/json"


def test_a_tenants_own_secret_signs_its_webhooks(desk, replying, tmp_path):
    own, server, keys = new_secret(), replying(Reply(204)), tmp_path / "keys.json"
    keys.write_text(json.dumps([{"tenant": "alice", "key": "key of alice", "webhook_secret": own}]))
    desk.finished(webhook=server.url)

    desk.settings = desk.settings.model_copy(update={"api_keys": str(keys)})
    desk.deliver_due()

    (request,) = server.requests
    Webhook(own).verify(request.body, request.headers)


def test_while_one_secret_replaces_another_both_sign(desk, replying, tmp_path):
    old, new = new_secret(), new_secret()
    server, keys = replying(Reply(204)), tmp_path / "keys.json"
    alice = {"tenant": "alice", "key": "key of alice"}
    keys.write_text(json.dumps([alice | {"webhook_secret": secret} for secret in (old, new)]))
    desk.finished(webhook=server.url)

    desk.settings = desk.settings.model_copy(update={"api_keys": str(keys)})
    desk.deliver_due()

    (request,) = server.requests
    for secret in (old, new):
        Webhook(secret).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body, request.headers)


def test_the_deployments_own_secret_is_replaced_in_the_same_way(desk, replying):
    new, server = new_secret(), replying(Reply(204))
    desk.finished(webhook=server.url)

    both = SecretStr(f"{new} {SECRET}")
    desk.settings = desk.settings.model_copy(update={"webhook_secret": both})
    desk.deliver_due()

    (request,) = server.requests
    for secret in (SECRET, new):
        Webhook(secret).verify(request.body, request.headers)


def test_without_any_secret_it_goes_out_unsigned(desk, replying):
    server = replying(Reply(204))
    job = desk.finished(webhook=server.url)

    desk.settings = CourierSettings(redis_url=desk.settings.redis_url, outbound_allow="127.0.0.1")
    desk.deliver_due()

    assert "webhook-signature" not in server.requests[0].headers
    assert desk.ledger.record(job).webhook_status == "delivered"
