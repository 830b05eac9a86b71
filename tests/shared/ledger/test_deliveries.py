from datetime import timedelta

import pytest

from shared.ledger.deliveries import Backlog, DeliveryLog
from tests.jobs import FAILURE, RESULT, make_job

pytestmark = pytest.mark.anyio

LEASE = timedelta(seconds=30)
LOG = DeliveryLog(at=1.0, seconds=0.1, status=200)
HOOK = "https://example.com/hook"


async def test_a_job_that_ends_puts_its_webhook_into_the_outbox(ledger):
    attempt = await ledger.running(make_job(webhook=HOOK, track_id=[1, "two"]))
    assert await ledger.deliveries.claim(10, lease=LEASE) == []

    ledger.attempts.succeed(attempt, RESULT)

    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)
    assert (delivery.attempt, delivery.record.state) == (1, "succeeded")
    assert delivery.record.job.track_id == [1, "two"]
    assert delivery.message_id.startswith("msg_")


async def test_a_failed_job_has_its_webhook_too(ledger):
    attempt = await ledger.running(make_job(webhook=HOOK))

    ledger.attempts.fail(attempt, FAILURE)

    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)
    assert delivery.record.failure == FAILURE


async def test_a_job_without_webhook_leaves_the_outbox_empty(ledger):
    attempt = await ledger.running()

    ledger.attempts.succeed(attempt, RESULT)

    assert await ledger.deliveries.claim(10, lease=LEASE) == []


async def test_a_webhook_is_taken_by_one_courier_at_a_time(ledger):
    await _due(ledger)

    taken = [await ledger.deliveries.claim(10, lease=LEASE) for _ in range(2)]

    assert [len(deliveries) for deliveries in taken] == [1, 0]


async def test_a_webhook_comes_back_with_the_same_id_when_its_courier_dies(ledger):
    first = await _due(ledger)
    (died_with,) = await ledger.deliveries.claim(10, lease=LEASE)
    ledger.redis.zadd("outbox", {str(first.job.id): 1})

    (again,) = await ledger.deliveries.claim(10, lease=LEASE)

    assert again.message_id == died_with.message_id


async def test_a_delivered_webhook_is_done(ledger):
    attempt = await _due(ledger)
    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)

    await ledger.deliveries.delivered(delivery, LOG)

    record = await ledger.submissions.find(attempt.job.id, "alice")
    assert record.webhook_status == "delivered"
    assert ledger.redis.zcard("outbox") == 0
    assert ledger.redis.lrange(f"attempts:{attempt.job.id}", 0, -1) == [LOG.model_dump_json()]


async def test_a_retry_waits_and_counts(ledger):
    attempt = await _due(ledger)
    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)

    await ledger.deliveries.retry(delivery, LOG, delay=3600)
    assert await ledger.deliveries.claim(10, lease=LEASE) == []

    ledger.redis.zadd("outbox", {str(attempt.job.id): 1})
    (again,) = await ledger.deliveries.claim(10, lease=LEASE)
    assert (again.attempt, again.message_id) == (2, delivery.message_id)


async def test_a_webhook_that_is_given_up_is_a_dead_letter(ledger):
    attempt = await _due(ledger)
    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)

    await ledger.deliveries.give_up(delivery, LOG)

    record = await ledger.submissions.find(attempt.job.id, "alice")
    assert record.webhook_status == "given_up"
    assert ledger.redis.xlen("dead") == 1


async def _due(ledger):
    attempt = await ledger.running(make_job(webhook=HOOK))
    ledger.attempts.succeed(attempt, RESULT)
    return attempt


async def test_a_courier_that_was_too_slow_takes_nothing_back(ledger):
    attempt = await _due(ledger)
    (slow,) = await ledger.deliveries.claim(10, lease=LEASE)
    ledger.redis.zadd("outbox", {str(attempt.job.id): 1})
    (quick,) = await ledger.deliveries.claim(10, lease=LEASE)
    await ledger.deliveries.delivered(quick, LOG)

    await ledger.deliveries.give_up(slow, LOG)

    record = await ledger.submissions.find(attempt.job.id, "alice")
    assert record.webhook_status == "delivered"
    assert ledger.redis.xlen("dead") == 0


@pytest.mark.parametrize("late", ["delivered", "give_up", "retry", "put_off"])
async def test_what_a_slow_courier_still_says_does_not_touch_a_replay(ledger, late):
    attempt = await _due(ledger)
    job_id = attempt.job.id
    (slow,) = await ledger.deliveries.claim(10, lease=LEASE)
    ledger.redis.zadd("outbox", {str(job_id): 1})
    (quick,) = await ledger.deliveries.claim(10, lease=LEASE)
    await ledger.deliveries.delivered(quick, LOG)
    await ledger.deliveries.replay(job_id, "alice")
    due = ledger.redis.zscore("outbox", str(job_id))

    match late:
        case "retry":
            await ledger.deliveries.retry(slow, LOG, delay=3600)
        case "put_off":
            await ledger.deliveries.put_off([(slow, 3600.0)])
        case _:
            await getattr(ledger.deliveries, late)(slow, LOG)

    assert ledger.redis.zscore("outbox", str(job_id)) == due
    (again,) = await ledger.deliveries.claim(10, lease=LEASE)
    assert (again.attempt, again.record.webhook_status) == (1, "")
    assert ledger.redis.xlen("dead") == 0


async def test_a_settlement_whose_answer_was_lost_is_repeated_without_harm(ledger):
    attempt = await _due(ledger)
    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)
    await ledger.deliveries.delivered(delivery, LOG)
    await ledger.deliveries.replay(attempt.job.id, "alice")

    await ledger.deliveries.delivered(delivery, LOG)

    assert len(await ledger.deliveries.claim(10, lease=LEASE)) == 1, "the replay is still to come"


async def test_a_courier_that_took_its_time_and_was_not_replaced_still_counts(ledger):
    attempt = await _due(ledger)
    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)
    ledger.redis.zadd("outbox", {str(attempt.job.id): 1})

    await ledger.deliveries.delivered(delivery, LOG)

    assert await ledger.deliveries.claim(10, lease=LEASE) == []
    assert (await ledger.submissions.find(attempt.job.id, "alice")).webhook_status == "delivered"


async def test_replays_follow_each_other_no_faster_than_every_ten_seconds(ledger):
    attempt = await _due(ledger)
    job_id = attempt.job.id
    for _ in range(2):
        (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)
        await ledger.deliveries.delivered(delivery, LOG)
        replayed = await ledger.deliveries.replay(job_id, "alice")

    assert replayed is False
    ledger.redis.hincrby(f"job:{job_id}", "replayed", -10_000)
    assert await ledger.deliveries.replay(job_id, "alice") is True


async def test_only_the_last_fifty_attempts_are_remembered_and_all_of_them_count(ledger):
    attempt = await _due(ledger)
    for number in range(60):
        ledger.redis.zadd("outbox", {str(attempt.job.id): 1})
        (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)
        assert delivery.attempt == number + 1
        await ledger.deliveries.retry(delivery, LOG.model_copy(update={"at": number}), delay=1)

    log = await ledger.deliveries.log(attempt.job.id)

    assert [entry.at for entry in log] == list(range(10, 60))


async def test_a_record_that_cannot_be_read_holds_up_no_other(ledger):
    unreadable, readable = await _due(ledger), await _due(ledger)
    ledger.redis.hset(f"job:{unreadable.job.id}", "job", "{}")

    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)

    assert delivery.record.job == readable.job
    assert ledger.redis.zscore("outbox", str(unreadable.job.id)) is not None


async def test_fewer_than_asked_for_come_only_where_no_more_are_due(ledger):
    unreadable, expired, *readable = [await _due(ledger) for _ in range(4)]
    ledger.redis.hset(f"job:{unreadable.job.id}", "job", "{}")
    ledger.redis.delete(f"job:{expired.job.id}")
    for due, attempt in enumerate([unreadable, expired, *readable]):
        ledger.redis.zadd("outbox", {str(attempt.job.id): due})

    claimed = await ledger.deliveries.claim(2, lease=LEASE)

    assert [delivery.record.job for delivery in claimed] == [one.job for one in readable]
    assert await ledger.deliveries.claim(2, lease=LEASE) == []


async def test_what_was_put_off_comes_back_and_was_no_attempt(ledger):
    attempt = await _due(ledger)
    (taken,) = await ledger.deliveries.claim(10, lease=LEASE)

    await ledger.deliveries.put_off([(taken, 3600.0)])
    assert await ledger.deliveries.claim(10, lease=LEASE) == []
    await ledger.deliveries.put_off([(taken, 0.0)])

    (again,) = await ledger.deliveries.claim(10, lease=LEASE)
    assert (again.attempt, again.record.job.id) == (1, attempt.job.id)
    assert await ledger.deliveries.log(attempt.job.id) == []


async def test_one_that_another_courier_delivered_meanwhile_is_not_put_back(ledger):
    await _due(ledger)
    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)
    await ledger.deliveries.delivered(delivery, LOG)

    await ledger.deliveries.put_off([(delivery, 0.0)])

    assert ledger.redis.zcard("outbox") == 0


@pytest.mark.parametrize("end", ["delivered", "give_up"])
async def test_a_replay_has_the_same_id_and_all_attempts_before_it(ledger, end):
    attempt = await _due(ledger)
    job_id = attempt.job.id
    (first,) = await ledger.deliveries.claim(10, lease=LEASE)
    await getattr(ledger.deliveries, end)(first, LOG)

    assert await ledger.deliveries.replay(job_id, "alice") is True

    (again,) = await ledger.deliveries.claim(10, lease=LEASE)
    assert (again.message_id, again.attempt) == (first.message_id, 1)
    assert again.record == first.record
    await ledger.deliveries.delivered(again, LOG)
    assert (await ledger.submissions.find(job_id, "alice")).webhook_status == "delivered"
    assert await ledger.deliveries.log(job_id) == [LOG, LOG]


async def test_the_age_of_a_webhook_starts_anew_with_its_replay(ledger):
    attempt = await _due(ledger)
    ledger.redis.hincrby(f"job:{attempt.job.id}", "finished", -5_000_000)
    (first,) = await ledger.deliveries.claim(10, lease=LEASE)
    await ledger.deliveries.give_up(first, LOG)
    await ledger.deliveries.replay(attempt.job.id, "alice")

    (again,) = await ledger.deliveries.claim(10, lease=LEASE)

    assert first.age == pytest.approx(5000, abs=60)
    assert again.age < 60


async def test_only_the_owner_replays_and_only_what_is_over(ledger):
    attempt, silent = await _due(ledger), await ledger.running()
    ledger.attempts.succeed(silent, RESULT)
    assert await ledger.deliveries.replay(attempt.job.id, "alice") is False  # not yet tried
    (delivery,) = await ledger.deliveries.claim(10, lease=LEASE)
    await ledger.deliveries.delivered(delivery, LOG)

    assert await ledger.deliveries.replay(attempt.job.id, "bob") is False
    assert await ledger.deliveries.replay(silent.job.id, "alice") is False  # has no webhook
    assert await ledger.deliveries.replay(1, "alice") is False
    assert ledger.redis.zcard("outbox") == 0


async def test_dead_letters_can_be_read_the_newest_first(ledger):
    first, second = await _due(ledger), await _due(ledger)
    for delivery in await ledger.deliveries.claim(10, lease=LEASE):
        await ledger.deliveries.give_up(delivery, LOG)
    ledger.redis.xadd("dead", {"job": 7, "reason": FAILURE.model_dump_json()})

    job, *webhooks = await ledger.deliveries.dead_letters(10)

    assert (job.kind, job.job_id, job.reason) == ("job", 7, FAILURE.model_dump_json())
    assert {letter.job_id for letter in webhooks} == {first.job.id, second.job.id}
    assert {letter.reason for letter in webhooks} == {LOG.model_dump_json()}
    assert len(await ledger.deliveries.dead_letters(1)) == 1


async def test_the_backlog_is_as_old_as_what_is_due_the_longest(ledger):
    assert await ledger.deliveries.backlog() == Backlog(0, 0.0)
    attempt, _ = await _due(ledger), await _due(ledger)
    ledger.redis.zincrby("outbox", -90_000, str(attempt.job.id))

    backlog = await ledger.deliveries.backlog()

    assert backlog.waiting == 2
    assert backlog.seconds == pytest.approx(90, abs=30)
    await ledger.deliveries.claim(10, lease=LEASE)
    assert (await ledger.deliveries.backlog()).seconds == 0
