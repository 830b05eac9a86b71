"""Calls that are made at about the same time share a round trip, and nothing else."""

import asyncio

import pytest
from redis.exceptions import RedisError

from shared.ledger.together import Together
from tests.jobs import make_job

pytestmark = pytest.mark.anyio


async def test_calls_of_one_turn_are_made_as_one_and_each_gets_its_own_answer():
    calls = []

    async def call(asked):
        calls.append(asked)
        return [10 * one for one in asked]

    double = Together(call, most=3)

    assert await asyncio.gather(*(double(number) for number in range(4))) == [0, 10, 20, 30]
    assert calls == [[0, 1, 2], [3]]


async def test_what_fails_alone_fails_nobody_else():
    async def call(asked):
        return [ValueError(one) if one == "bad" else one for one in asked]

    together = Together(call, most=9)

    answers = await asyncio.gather(*map(together, ("a", "bad", "b")), return_exceptions=True)

    assert (answers[0], answers[2]) == ("a", "b")
    assert isinstance(answers[1], ValueError)


async def test_what_fails_as_a_whole_fails_for_all_and_the_next_turn_is_another_call():
    async def call(asked):
        if len(asked) > 1:
            raise RedisError("away")
        return asked

    together = Together(call, most=9)

    answers = await asyncio.gather(together(1), together(2), return_exceptions=True)

    assert [str(answer) for answer in answers] == ["away", "away"]
    assert await together(3) == 3


async def test_those_who_come_while_a_call_is_out_go_together_when_it_returns():
    calls, is_out, may_answer = [], asyncio.Event(), asyncio.Event()

    async def call(asked):
        calls.append(asked)
        is_out.set()
        await may_answer.wait()
        return asked

    together = Together(call, most=9)
    answers = [together("first")]
    await is_out.wait()

    answers.append(together("second"))
    await asyncio.sleep(0)  # another turn of the event loop
    answers.append(together("third"))
    may_answer.set()

    assert await asyncio.gather(*answers) == ["first", "second", "third"]
    assert calls == [["first"], ["second", "third"]]


async def test_who_went_with_a_call_that_returned_leaves_no_timer_behind(monkeypatch):
    timers, loop = [], asyncio.get_running_loop()
    later = loop.call_later
    monkeypatch.setattr(loop, "call_later", lambda *a: timers.append(later(*a)) or timers[-1])
    calls, left, returns = [], asyncio.Event(), []

    async def call(asked):
        calls.append(asked)
        returns.append(asyncio.Event())
        left.set()
        await returns[-1].wait()
        return asked

    together = Together(call, most=9)
    answers = [together("first")]
    await left.wait()
    answers.append(together("second"))  # from here on its five milliseconds run
    left.clear()
    returns[0].set()
    await left.wait()

    assert timers[1].cancelled()  # or it would send who comes next beside the call that is out
    returns[1].set()
    assert await asyncio.gather(*answers) == ["first", "second"]
    assert calls == [["first"], ["second"]]


async def test_a_call_that_hangs_holds_up_nobody_who_comes_later():
    is_out = asyncio.Event()

    async def call(asked):
        if asked == ["hangs"]:
            is_out.set()
            await asyncio.Event().wait()
        return asked

    together = Together(call, most=9)
    first = together("hangs")
    await is_out.wait()

    assert await together("later") == "later"
    assert not first.done()


async def test_what_is_in_no_hurry_is_said_at_once_when_all_is_over():
    calls = []

    async def call(asked):
        calls.append(asked)
        return asked

    together = Together(call, most=9, seconds=3600)
    said = together("something")
    await together.close()

    assert said.done()
    assert calls == [["something"]]


async def test_who_is_cancelled_takes_nothing_from_the_others():
    is_out, may_answer = asyncio.Event(), asyncio.Event()

    async def call(asked):
        is_out.set()
        await may_answer.wait()
        return asked

    together = Together(call, most=9)
    gone, stays = together(0), together(1)
    await is_out.wait()

    gone.cancel()
    may_answer.set()

    assert await stays == 1
    assert gone.cancelled()


async def test_jobs_that_are_submitted_at_once_are_recorded_in_one_round_trip(ledger):
    jobs = [make_job() for _ in range(5)]
    await ledger.submit()  # the script is there now
    before = ledger.redis.info("commandstats")["cmdstat_evalsha"]["calls"]

    receipts = await asyncio.gather(*(ledger.submit(job) for job in jobs))

    assert ledger.redis.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1
    assert [receipt.job_id for receipt in receipts] == [job.id for job in jobs]
    assert [receipt.standing["ahead"] for receipt in receipts] == [1, 2, 3, 4, 5]


async def test_a_key_that_comes_twice_in_one_turn_is_one_job(ledger):
    first, second = await asyncio.gather(
        *(ledger.submit(make_job(), idempotency_key="k", digest="d") for _ in range(2))
    )

    assert [first.outcome, second.outcome] == ["accepted", "repeated"]
    assert second.job_id == first.job_id


async def test_a_job_that_the_script_cannot_record_is_refused_alone(ledger):
    ledger.redis.set("lane:broken:alice", "no sorted set")

    broken, well = await asyncio.gather(
        ledger.submit(make_job(pool="broken")), ledger.submit(make_job()), return_exceptions=True
    )

    assert isinstance(broken, RedisError)
    assert well.outcome == "accepted"


async def test_a_job_that_cannot_be_written_down_is_refused_alone(ledger):
    broken, well = await asyncio.gather(
        ledger.submit(make_job(track_id="\ud800")),
        ledger.submit(make_job()),
        return_exceptions=True,
    )

    assert isinstance(broken, ValueError)
    assert well.outcome == "accepted"


async def test_a_load_that_cannot_be_read_hides_no_job_that_was_recorded(ledger):
    ledger.redis.set("service:default:busy", "no hash")

    broken, well = await asyncio.gather(
        *(ledger.submit(make_job(pool=p)) for p in ("default", "xl"))
    )

    assert [broken.outcome, well.outcome] == ["accepted", "accepted"]
    assert broken.load is None
    assert well.load.waiting == 1


async def test_jobs_whose_answer_got_lost_get_it_when_they_are_sent_again(ledger):
    submissions = [*zip([make_job() for _ in range(3)], ("", "k", "k"), strict=True)]

    first, again = [
        await asyncio.gather(*(ledger.submit(job, idempotency_key=key) for job, key in submissions))
        for _ in range(2)
    ]

    assert [receipt.outcome for receipt in first] == ["accepted", "accepted", "repeated"]
    assert [(a.outcome, a.job_id) for a in again] == [(f.outcome, f.job_id) for f in first]
    assert ledger.redis.zcard("waiting:default") == 2


async def test_a_full_redis_keeps_nothing_of_the_jobs_that_it_refuses(ledger):
    await ledger.submit()
    ledger.redis.set("room", "yes")
    before = sorted(ledger.redis.keys())
    ledger.redis.config_set("maxmemory", 1)
    try:
        answers = await asyncio.gather(
            *(ledger.submit(idempotency_key="k") for _ in range(2)), return_exceptions=True
        )
    finally:
        ledger.redis.config_set("maxmemory", 0)

    assert all(isinstance(answer, RedisError) for answer in answers)
    assert sorted(ledger.redis.keys()) == before


async def test_scripts_that_redis_has_forgotten_are_sent_again(ledger):
    await ledger.submit()
    ledger.redis.script_flush()

    receipts = await asyncio.gather(*(ledger.submit() for _ in range(3)))

    assert {receipt.outcome for receipt in receipts} == {"accepted"}
