"""One attempt to deliver a webhook, and what follows: a real ledger, a receiver as a test says."""

import pytest

from shared.webhooks import DELAYS
from tests.servers import Reply, free_port

JITTER = 0.25


def planned(attempt: int):
    """The wait after a failed attempt, spread as it is."""
    delay = DELAYS[attempt - 1]
    return pytest.approx(delay, rel=JITTER, abs=3)


@pytest.mark.parametrize("status", [200, 202, 204, 299])
def test_a_webhook_that_is_taken_is_delivered(desk, replying, status):
    job = desk.finished(webhook=replying(Reply(status)).url)

    desk.deliver_due()

    assert desk.ledger.record(job).webhook_status == "delivered"
    assert desk.ledger.redis.zcard("outbox") == 0
    (entry,) = desk.log(job)
    assert (entry["status"], entry["reason"]) == (status, "")
    assert entry["seconds"] >= 0


def test_a_receiver_that_is_gone_for_good_is_given_up(desk, replying):
    job = desk.finished(webhook=replying(Reply(410)).url)

    desk.deliver_due()

    assert desk.ledger.record(job).webhook_status == "given_up"
    assert desk.ledger.redis.zcard("outbox") == 0
    ((_, letter),) = desk.ledger.redis.xrange("dead")
    assert letter["webhook"] == str(job.id)


@pytest.mark.parametrize("status", [301, 307, 400, 404, 500, 503])
def test_any_other_answer_is_tried_again_as_planned(desk, replying, status):
    server = replying(Reply(status, headers={"Location": "/elsewhere"}))
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
def test_a_receiver_that_asks_for_time_gets_it_up_to_an_hour(desk, replying, status, asked, given):
    job = desk.finished(webhook=replying(Reply(status, headers={"Retry-After": asked})).url)

    desk.deliver_due()

    assert desk.ledger.due_in("outbox", job) == pytest.approx(given, abs=5)


def test_a_receiver_that_fails_once_gets_it_the_second_time(desk, replying):
    server = replying(Reply(500), Reply(200))
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
        pytest.param(f"http://127.0.0.1:{free_port()}/hook", "could not connect", id="nobody"),
    ],
)
def test_an_address_that_cannot_be_reached_is_noted_and_tried_again(desk, address, reason):
    job = desk.finished(webhook=address)

    desk.deliver_due()

    (entry,) = desk.log(job)
    assert (entry["status"], entry["reason"]) == (None, reason)
    assert desk.ledger.due_in("outbox", job) == planned(1)


def test_a_fault_of_ours_counts_as_an_attempt(desk, replying):
    # As if the settings of another process had let this through.
    desk.settings = desk.settings.model_copy(update={"webhook_timeout": None})
    job = desk.finished(webhook=replying(Reply(200)).url)

    desk.deliver_due()

    (entry,) = desk.log(job)
    assert (entry["status"], entry["reason"]) == (None, "internal error")
    assert desk.ledger.due_in("outbox", job) == planned(1)


def test_the_attempt_after_the_last_planned_one_gives_up(desk, replying):
    job = desk.finished(webhook=replying(Reply(500)).url)
    desk.ledger.redis.hset(f"job:{job.id}", "tries", len(DELAYS))

    desk.deliver_due()

    assert desk.ledger.record(job).webhook_status == "given_up"
    assert desk.ledger.redis.zcard("outbox") == 0
    assert desk.ledger.redis.xlen("dead") == 1
