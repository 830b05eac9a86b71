"""One attempt to deliver a webhook: a real ledger, and a receiver that does as a test says."""

import asyncio
import json
import re
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta

import pytest
from pydantic import SecretStr
from standardwebhooks import Webhook, WebhookVerificationError

from shared.egress import Guard, Outbound
from shared.ledger.connect import connect_for_requests
from shared.ledger.deliveries import Deliveries
from shared.tenants import Tenants
from shared.webhooks import DELAYS, new_secret
from tests.jobs import FAILURE, RESULT, make_job
from tests.ledger import Ledger
from tests.servers import Reply, free_port, http_server
from worker.courier.config import CourierSettings
from worker.courier.delivery import Courier

SECRET = new_secret()
TRACK_IDS = [None, 7, 2**53 - 1, 1.5, True, "7", "", [1, "two"], {"order": {"id": 7}}, "ü\u2028"]
JITTER = 0.25


@dataclass
class Desk:
    """A courier's work, step by step."""

    ledger: Ledger
    settings: CourierSettings

    def finished(self, **fields):
        """A job that succeeded, with its webhook due."""
        job = make_job(**fields)
        self.ledger.attempts.succeed(self.ledger.running(job), RESULT)
        return job

    def deliver_due(self) -> None:
        """One attempt at every webhook that is due."""
        asyncio.run(self._deliver_due())

    async def _deliver_due(self) -> None:
        redis = connect_for_requests(self.settings.redis_url)
        async with redis, Outbound(Guard.from_settings(self.settings)) as outbound:
            deliveries = Deliveries(redis, self.settings)
            courier = Courier(
                deliveries=deliveries,
                outbound=outbound,
                tenants=Tenants.read(self.settings),
                links=lambda keys: [f"https://img.example.com/{key}" for key in keys],
                settings=self.settings,
            )
            for delivery in await deliveries.claim(10, lease=timedelta(minutes=1)):
                await courier.deliver(delivery)

    def log(self, job) -> list[dict]:
        """What the job's owner may see of the attempts."""
        return [json.loads(e) for e in self.ledger.redis.lrange(f"attempts:{job.id}", 0, -1)]


@pytest.fixture
def desk(redis, valkey_server) -> Desk:
    settings = CourierSettings(
        redis_url=valkey_server.url,
        outbound_allow="127.0.0.1",
        webhook_secret=SECRET,
        webhook_timeout=timedelta(seconds=5),
    )
    return Desk(Ledger(redis, settings), settings)


@pytest.fixture
def receiver():
    """Starts a receiver that gives these answers, the last one again and again."""
    with ExitStack() as servers:

        def start(*replies: Reply):
            left = list(replies)
            return servers.enter_context(
                http_server(lambda request: left.pop(0) if len(left) > 1 else left[0])
            )

        yield start


def planned(attempt: int):
    """The wait after a failed attempt, spread as it is."""
    delay = DELAYS[attempt - 1]
    return pytest.approx(delay, rel=JITTER, abs=3)


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_a_webhook_that_is_taken_is_delivered(desk, receiver, status):
    job = desk.finished(webhook=receiver(Reply(status)).url)

    desk.deliver_due()

    assert desk.ledger.record(job).webhook_status == "delivered"
    assert desk.ledger.redis.zcard("outbox") == 0
    (entry,) = desk.log(job)
    assert (entry["status"], entry["reason"]) == (status, "")
    assert entry["seconds"] >= 0


def test_a_receiver_that_is_gone_for_good_is_given_up(desk, receiver):
    job = desk.finished(webhook=receiver(Reply(410)).url)

    desk.deliver_due()

    assert desk.ledger.record(job).webhook_status == "given_up"
    assert desk.ledger.redis.zcard("outbox") == 0
    ((_, letter),) = desk.ledger.redis.xrange("dead")
    assert letter["webhook"] == str(job.id)


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500, 503])
def test_any_other_answer_is_tried_again_as_planned(desk, receiver, status):
    server = receiver(Reply(status, headers={"Location": "/elsewhere"}))
    job = desk.finished(webhook=server.url)

    waits = []
    for _ in range(2):
        desk.deliver_due()
        waits.append(desk.ledger.due_in("outbox", job))
        desk.ledger.make_due("outbox", job)

    assert waits == [planned(1), planned(2)]
    assert [entry["status"] for entry in desk.log(job)] == [status, status]
    assert desk.ledger.record(job).webhook_status == ""
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("asked", "given"), [("900", 900), ("86400", 3600)])
def test_a_receiver_that_asks_for_time_gets_it_up_to_an_hour(desk, receiver, status, asked, given):
    job = desk.finished(webhook=receiver(Reply(status, headers={"Retry-After": asked})).url)

    desk.deliver_due()

    assert desk.ledger.due_in("outbox", job) == pytest.approx(given, abs=5)


def test_a_receiver_that_fails_once_gets_it_the_second_time(desk, receiver):
    server = receiver(Reply(500), Reply(200))
    job = desk.finished(webhook=server.url)

    desk.deliver_due()
    desk.ledger.make_due("outbox", job)
    desk.deliver_due()

    assert desk.ledger.record(job).webhook_status == "delivered"
    assert [entry["status"] for entry in desk.log(job)] == [500, 200]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://10.0.0.1/hook", "address not allowed"),
        ("http://169.254.169.254/latest/meta-data", "address not allowed"),
        (f"http://127.0.0.1:{free_port()}/hook", "could not connect"),
    ],
)
def test_an_address_that_cannot_be_reached_is_noted_and_tried_again(desk, address, reason):
    job = desk.finished(webhook=address)

    desk.deliver_due()

    (entry,) = desk.log(job)
    assert (entry["status"], entry["reason"]) == (None, reason)
    assert desk.ledger.due_in("outbox", job) == planned(1)


def test_a_fault_of_ours_counts_as_an_attempt(desk, receiver):
    # As if the settings of another process had let this through.
    desk.settings = desk.settings.model_copy(update={"webhook_timeout": None})
    job = desk.finished(webhook=receiver(Reply(200)).url)

    desk.deliver_due()

    (entry,) = desk.log(job)
    assert (entry["status"], entry["reason"]) == (None, "internal error")
    assert desk.ledger.due_in("outbox", job) == planned(1)


def test_the_attempt_after_the_last_planned_one_gives_up(desk, receiver):
    job = desk.finished(webhook=receiver(Reply(500)).url)
    for _ in DELAYS:
        desk.ledger.redis.rpush(f"attempts:{job.id}", "{}")

    desk.deliver_due()

    assert desk.ledger.record(job).webhook_status == "given_up"
    assert desk.ledger.redis.zcard("outbox") == 0
    assert desk.ledger.redis.xlen("dead") == 1


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


def test_a_body_that_would_be_too_large_has_short_texts_in_meta_and_says_so(desk, receiver):
    server = receiver(Reply(204))
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


def test_a_body_of_usual_size_is_whole(desk, receiver):
    server, prompt = receiver(Reply(204)), "a red circle " * 150
    params = make_job().params.model_copy(update={"prompt": prompt})
    desk.finished(webhook=server.url, params=params)

    desk.deliver_due()

    meta = json.loads(server.requests[0].body)["meta"]
    assert meta["prompt"] == prompt
    assert "trimmed" not in meta


@pytest.mark.parametrize("track_id", TRACK_IDS, ids=repr)
def test_the_body_carries_the_callers_id_with_its_type(desk, receiver, track_id):
    server = receiver(Reply(204))
    job = desk.finished(webhook=server.url, track_id=track_id)

    desk.deliver_due()

    (request,) = server.requests
    body = json.loads(request.body)
    assert (body["track_id"], type(body["track_id"])) == (track_id, type(track_id))
    assert (body["status"], body["id"]) == ("success", job.id)
    assert body["output"] == [f"https://img.example.com/{key}" for key in RESULT.keys]


def test_a_failed_job_says_so(desk, receiver):
    server = receiver(Reply(204))
    job = make_job(webhook=server.url, track_id="mine")
    desk.ledger.attempts.fail(desk.ledger.running(job), FAILURE)

    desk.deliver_due()

    body = json.loads(server.requests[0].body)
    assert (body["status"], body["track_id"], body["output"]) == ("failed", "mine", [])
    assert body["message"] == body["messege"] == FAILURE.message


def test_every_attempt_sends_the_same_bytes_under_the_same_id_and_verifies(desk, receiver):
    server = receiver(Reply(500), Reply(503), Reply(200))
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


def test_a_tenants_own_secret_signs_its_webhooks(desk, receiver, tmp_path):
    own, server, keys = new_secret(), receiver(Reply(204)), tmp_path / "keys.json"
    keys.write_text(json.dumps([{"tenant": "alice", "key": "key of alice", "webhook_secret": own}]))
    desk.finished(webhook=server.url)

    desk.settings = desk.settings.model_copy(update={"api_keys": str(keys)})
    desk.deliver_due()

    (request,) = server.requests
    Webhook(own).verify(request.body, request.headers)


def test_while_one_secret_replaces_another_both_sign(desk, receiver, tmp_path):
    old, new = new_secret(), new_secret()
    server, keys = receiver(Reply(204)), tmp_path / "keys.json"
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


def test_the_deployments_own_secret_is_replaced_in_the_same_way(desk, receiver):
    new, server = new_secret(), receiver(Reply(204))
    desk.finished(webhook=server.url)

    both = SecretStr(f"{new} {SECRET}")
    desk.settings = desk.settings.model_copy(update={"webhook_secret": both})
    desk.deliver_due()

    (request,) = server.requests
    for secret in (SECRET, new):
        Webhook(secret).verify(request.body, request.headers)


def test_without_any_secret_it_goes_out_unsigned(desk, receiver):
    server = receiver(Reply(204))
    job = desk.finished(webhook=server.url)

    desk.settings = CourierSettings(redis_url=desk.settings.redis_url, outbound_allow="127.0.0.1")
    desk.deliver_due()

    assert "webhook-signature" not in server.requests[0].headers
    assert desk.ledger.record(job).webhook_status == "delivered"
