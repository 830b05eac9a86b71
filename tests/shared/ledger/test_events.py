"""Jobs that end, as it happens."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import pytest

from shared.ledger.connect import connect_for_requests
from shared.ledger.events import end, finished
from tests.jobs import FAILURE, RESULT
from tests.servers import valkey

pytestmark = pytest.mark.anyio

SECONDS = 10


async def test_a_job_that_ends_is_told_to_everyone_who_listens(ledger, valkey_server):
    attempt = await ledger.running()

    async with listening(valkey_server) as one, listening(valkey_server) as another:
        ledger.attempts.succeed(attempt, RESULT)

        assert [await soon(one), await soon(another)] == [attempt.job.id] * 2


async def test_a_job_that_fails_for_the_last_time_is_told_too(ledger, valkey_server):
    attempt = await ledger.running()
    ledger.redis.hset(f"job:{attempt.job.id}", "attempts", 3)

    async with listening(valkey_server) as events:
        ledger.attempts.hand_back(attempt, charged=True, failure=FAILURE)

        assert await soon(events) == attempt.job.id


async def test_what_is_not_the_end_is_not_told(ledger, valkey_server):
    handed_back, failed = await ledger.running(), await ledger.running()

    async with listening(valkey_server) as events:
        ledger.attempts.hand_back(handed_back, charged=True, failure=FAILURE)
        ledger.attempts.renew([(failed, 1, 8)])
        ledger.attempts.fail(failed, FAILURE)

        assert await soon(events) == failed.job.id


async def test_a_listener_whose_connection_is_cut_listens_again(ledger, valkey_server):
    attempt = await ledger.running()

    async with listening(valkey_server) as events:
        ledger.redis.client_kill_filter(_type="pubsub")
        await until_listeners(ledger.redis, 1)
        ledger.attempts.succeed(attempt, RESULT)

        assert await soon(events) == attempt.job.id


async def test_a_listener_outlives_a_redis_that_restarts(tmp_path):
    with valkey(tmp_path) as server:
        async with listening(server) as events, connect_for_requests(server.url) as redis:
            server.restart()
            told = asyncio.ensure_future(soon(events))
            while not told.done():
                await redis.publish("finished", 7)
                await asyncio.sleep(0.01)

            assert told.result() == 7


async def test_ending_waits_for_a_task_that_swallows_its_first_cancellation():
    swallowed = asyncio.Event()

    async def deaf():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(deaf()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.sleep(0)

    await asyncio.wait_for(end(tasks), SECONDS)

    assert swallowed.is_set()
    assert all(task.done() for task in tasks)


async def test_ending_leaves_the_error_of_a_task_that_failed_to_its_owner():
    async def fail():
        raise ValueError("broken")

    task = asyncio.create_task(fail())
    await asyncio.wait([task])

    await end([task])

    with pytest.raises(ValueError, match="broken"):
        task.result()


@asynccontextmanager
async def listening(server):
    """The ids that are told, as a queue, from a moment when the listener is heard of."""
    ids = asyncio.Queue()
    async with connect_for_requests(server.url) as redis:

        async def listen():
            async with aclosing(finished(redis)) as events:
                async for job_id in events:
                    ids.put_nowait(job_id)

        before = await listeners(redis)
        task = asyncio.create_task(listen())
        await until(lambda: listeners(redis), before + 1)
        yield ids
        await end([task])


async def listeners(redis) -> int:
    return dict(await redis.pubsub_numsub("finished"))["finished"]


async def until(ask, answer) -> None:
    async with asyncio.timeout(SECONDS):
        while await ask() != answer:
            await asyncio.sleep(0.005)


async def until_listeners(redis, number: int) -> None:
    async def ask() -> int:
        return dict(redis.pubsub_numsub("finished"))["finished"]

    await until(ask, number)


async def soon(events) -> int:
    return await asyncio.wait_for(events.get(), SECONDS)
