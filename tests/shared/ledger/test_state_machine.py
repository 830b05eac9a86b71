"""Any order of moves, on the real scripts in a real Valkey, beside a model in plain Python."""

import asyncio
import json
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from shared.config import Settings
from shared.jobs import Job
from shared.ledger.attempts import Attempt, Attempts
from shared.ledger.connect import connect_for_requests
from shared.ledger.deliveries import Deliveries, Delivery, DeliveryLog
from shared.ledger.pauses import Pauses
from shared.ledger.reaper import Reaped, Reaper
from shared.ledger.receipts import Submission
from shared.ledger.submissions import Submissions
from tests.jobs import FAILURE, RESULT, make_job
from tests.shared.ledger.model import ENDS, FINAL, MAX_ATTEMPTS, Held, Model, repeated

AHEAD = 2
POOLS = ("default", "big")
TENANTS = ("alice", "bob", "carol")
LONG = timedelta(hours=1)
"""Of delays and leases: time passes only when a rule says so."""
LONG_AGO = 1
HOOK = "https://example.com/hook"
LOG = DeliveryLog(at=1.0, seconds=0.1)
FINAL_FIELDS = ("state", "generation", "attempts", "owner", "result", "failure", "finished")

T = TypeVar("T")
Message = tuple[int, int]
"""Job id and generation."""


class Async:
    """The asynchronous sides of the ledger, called one at a time."""

    def __init__(self, url: str, settings: Settings) -> None:
        self._runner = asyncio.Runner()
        self.redis = connect_for_requests(url)
        self.submissions = Submissions(self.redis, settings)
        self.deliveries = Deliveries(self.redis, settings)
        self.reaper = Reaper(self.redis, settings)
        self.pauses = Pauses(self.redis, settings)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(coroutine)

    def close(self) -> None:
        self.run(self.redis.aclose())
        self._runner.close()


class LedgerMachine(RuleBasedStateMachine):
    """Doors, workers, couriers and reapers that do what they can, in any order."""

    def __init__(self, redis: Redis, asynchronous: Async, settings: Settings) -> None:
        super().__init__()
        redis.flushall()
        self.redis, self.others = redis, asynchronous
        self.worker = Attempts(redis, settings)
        self.model = Model()
        self.submissions: list[Submission] = []
        self.messages: list[Message] = []
        """Popped from Celery's queue by some worker."""
        self.attempts: list[Attempt] = []
        """Claimed at some time; many are stale."""
        self.taken: list[Delivery] = []
        """Webhooks that some courier took."""
        self.finals: dict[int, list[str | None]] = {}
        self.held_back: dict[str, set[str]] = {}
        """Paused pools, and what was published then and still is."""
        self.others.run(self.others.reaper.reap())

    @initialize(
        jobs=st.lists(
            st.tuples(
                st.sampled_from(TENANTS),
                st.sampled_from(POOLS),
                st.booleans(),
                st.sampled_from([None, 1, 2]),
            ),
            min_size=4,
            max_size=10,
        )
    )
    def a_service_at_work(self, jobs):
        for tenant, pool, has_webhook, most_running in jobs:
            job = self._new_job(tenant=tenant, pool=pool, webhook=HOOK if has_webhook else None)
            self._submit(Submission(job, 1.0, 1000, 1000, most_running=most_running))
        for pool in POOLS * 2:
            if self.redis.exists(f"gpu.{pool}"):
                self.messages.append(self._pop(pool))
                self._claim(Held(*self.messages[-1], owner=self._owner()))
        self._finish(self.attempts[0], "succeeded")
        self._take(1)

    @rule(
        job=st.fixed_dictionaries(
            {
                "tenant": st.sampled_from(TENANTS),
                "pool": st.sampled_from(POOLS),
                "priority": st.sampled_from([0, 5, 9]),
                "webhook": st.sampled_from([None, HOOK]),
            }
        ),
        terms=st.fixed_dictionaries(
            {
                "weight": st.sampled_from([0.5, 1.0, 3.0]),
                "idempotency_key": st.sampled_from(["", "", "k"]),
                "digest": st.sampled_from(["d", "e"]),
                "most_live": st.sampled_from([3, 1000]),
                "most_waiting": st.sampled_from([4, 1000]),
                "cancel_after": st.sampled_from([None, LONG]),
                "most_running": st.sampled_from([None, None, 1, 2]),
            }
        ),
    )
    def submit(self, job, terms):
        self._submit(Submission(self._new_job(**job), **terms))

    @rule(data=st.data())
    def submit_again_because_the_answer_was_lost(self, data):
        self._submit(pick(data, self.submissions))

    @precondition(lambda self: self._pools_with_messages())
    @rule(data=st.data(), copies=st.sampled_from([0, 0, 1, 3]), lost=st.booleans())
    def pop(self, data, copies, lost):
        pool = pick(data, self._pools_with_messages())
        if copies:
            queue = f"gpu.{pool}"
            self.redis.rpush(queue, *[self.redis.lindex(queue, -1)] * copies)
        message = self._pop(pool)
        if not lost:
            self.messages.append(message)

    @precondition(lambda self: self.messages)
    @rule(data=st.data(), generations_ago=st.sampled_from([0, 0, 0, 1, 2]))
    def claim(self, data, generations_ago):
        job_id, generation = pick(data, self.messages)
        self._claim(Held(job_id, generation - generations_ago, owner=self._owner()))

    @precondition(lambda self: self._pools_with_messages())
    @rule(data=st.data())
    def pop_and_claim(self, data):
        message = self._pop(pick(data, self._pools_with_messages()))
        self._claim(Held(*message, owner=self._owner()))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def claim_again_because_the_answer_was_lost(self, data):
        self._claim(held_by(pick(data, self.attempts)))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), many=st.integers(1, 4), step=st.integers(0, 9))
    def renew(self, data, many, step):
        some = [pick(data, self.attempts) for _ in range(many)]

        answers = self.worker.renew([(attempt, step, 9) for attempt in some])

        held = [self.model.holds(held_by(attempt)) for attempt in some]
        assert answers == held
        for attempt, still in zip(some, held, strict=True):
            if still:
                self.model.overdue.discard(attempt.job.id)
                assert self.redis.hget(f"job:{attempt.job.id}", "step") == str(step)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), state=st.sampled_from(ENDS))
    def finish(self, data, state):
        self._finish(pick(data, self.attempts), state)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), charged=st.booleans(), delay=st.sampled_from([timedelta(0), LONG]))
    def hand_back(self, data, charged, delay):
        attempt = pick(data, self.attempts)

        answer = self.worker.hand_back(attempt, charged=charged, delay=delay, failure=FAILURE)

        delayed = delay > timedelta(0)
        assert answer == self.model.hand_back(held_by(attempt), charged=charged, delayed=delayed)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), waits=st.booleans())
    def set_aside(self, data, waits):
        attempt = pick(data, self.attempts)

        still = self.worker.set_aside(attempt, waits=waits)

        assert still is self.model.set_aside(held_by(attempt), waits=waits)

    @precondition(lambda self: self.submissions)
    @rule(data=st.data(), is_owner=st.sampled_from([True, True, True, False]))
    def cancel(self, data, is_owner):
        job = pick(data, self.submissions).job
        tenant = job.tenant if is_owner else "mallory"

        ended = self.others.run(self.others.submissions.cancel(job.id, tenant))

        assert ended is self.model.cancel(job.id, tenant)

    @rule(pool=st.sampled_from(POOLS))
    def pause(self, pool):
        self.others.run(self.others.pauses.pause([pool]))

        self.held_back.setdefault(pool, self._published(pool))

    @precondition(lambda self: self.held_back)
    @rule(data=st.data())
    def resume(self, data):
        self._resume([pick(data, sorted(self.held_back))])

    @precondition(lambda self: self.redis.exists("deadlines"))
    @rule(data=st.data())
    def a_deadline_passes(self, data):
        job_id = pick(data, self.redis.zrange("deadlines", 0, -1))
        self.redis.zadd("deadlines", {job_id: LONG_AGO})
        self.model.late.add(int(job_id))

    @precondition(lambda self: any(self.model.waiting(pool) for pool in POOLS))
    @rule(data=st.data())
    def a_job_has_waited_for_too_long(self, data):
        job_id = pick(data, [i for i, entry in self.model.jobs.items() if entry.waits])
        entry = self.model.jobs[job_id]
        self.redis.zadd(f"waiting:{entry.job.pool}", {str(job_id): LONG_AGO})
        if not entry.started:
            self.model.stale.add(job_id)

    @precondition(lambda self: self.model.in_state("running"))
    @rule(data=st.data())
    def a_lease_runs_out(self, data):
        job_id = pick(data, sorted(self.model.in_state("running")))
        self.redis.zadd("leases", {str(job_id): LONG_AGO})
        self.model.overdue.add(job_id)

    @precondition(lambda self: self.redis.exists("delayed"))
    @rule()
    def a_delay_passes(self):
        job_id = self.redis.zrange("delayed", 0, 0)[0]
        self.redis.zadd("delayed", {job_id: LONG_AGO})
        self.model.due.add(int(job_id))

    @precondition(lambda self: self.model.overdue and not self.model.paused)
    @rule()
    def redis_is_away_for_long(self):
        self.redis.set("reap:last", LONG_AGO)
        self.model.paused = True

    @precondition(lambda self: self.model.grace)
    @rule()
    def live_workers_had_their_time_to_renew(self):
        self.redis.set("reap:grace", LONG_AGO)
        self.model.grace = False

    @precondition(lambda self: self.model.paused or self._has_late_ones())
    @rule()
    def reap(self):
        self._reap()

    @precondition(lambda self: any(self.model.waiting(pool) for pool in POOLS))
    @rule()
    def reap_when_every_message_is_late(self):
        self._make_messages_late()
        missing = sum(
            max(0, self.redis.zcard(f"published:{p}") - self.redis.llen(f"gpu.{p}")) for p in POOLS
        )
        nothing_else = not self._has_late_ones()

        reaped = self._reap()

        if nothing_else:
            assert reaped.messages == missing

    @precondition(lambda self: self.model.webhooks("due"))
    @rule(most=st.integers(1, 3))
    def take_webhooks(self, most):
        self._take(most)

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), outcome=st.sampled_from(["delivered", "retry", "given_up"]))
    def settle(self, data, outcome):
        self._settle(pick(data, self.taken), outcome)

    @precondition(lambda self: self.model.webhooks("delivered", "given_up", "due"))
    @rule(data=st.data(), later=st.booleans())
    def replay(self, data, later):
        job_id = pick(data, sorted(self.model.webhooks("delivered", "given_up", "due")))
        if later:
            self.redis.hdel(f"job:{job_id}", "replayed")
        soon = self.redis.hexists(f"job:{job_id}", "replayed")
        tenant = self.model.jobs[job_id].job.tenant

        replayed = self.others.run(self.others.deliveries.replay(job_id, tenant))

        assert replayed is self.model.replay(job_id, soon=soon)

    @precondition(lambda self: self.model.webhooks("taken", "waits"))
    @rule(data=st.data())
    def a_webhook_comes_back(self, data):
        job_id = pick(data, sorted(self.model.webhooks("taken", "waits")))
        self.redis.zadd("outbox", {str(job_id): LONG_AGO})
        self.model.jobs[job_id].webhook = "due"

    @invariant()
    def every_job_is_in_the_one_state_that_the_model_says(self):
        fields = ("state", "generation", "attempts", "owner")
        with self.redis.pipeline(transaction=False) as pipe:
            for job_id in self.model.jobs:
                pipe.hmget(f"job:{job_id}", fields)
            records = pipe.execute()

        standing = [tuple(value or "" for value in record) for record in records]
        assert standing == [entry.standing for entry in self.model.jobs.values()]
        assert all(0 <= entry.attempts <= MAX_ATTEMPTS for entry in self.model.jobs.values())
        assert len(self.redis.keys("job:*")) == len(self.model.jobs)

    @invariant()
    def final_states_never_change(self):
        for job_id, entry in self.model.jobs.items():
            if entry.state in FINAL:
                now = self.redis.hmget(f"job:{job_id}", FINAL_FIELDS)
                assert self.finals.setdefault(job_id, now) == now
                assert self.redis.pttl(f"job:{job_id}") > 0

    @invariant()
    def a_queued_job_is_in_exactly_one_place(self):
        for pool in POOLS:
            published = self.redis.zrange(f"published:{pool}", 0, -1)
            lanes = {t: self.redis.zrange(f"lane:{pool}:{t}", 0, -1) for t in TENANTS}
            waiting = {str(i) for i, e in self.model.jobs.items() if e.waits and e.job.pool == pool}
            places = [*published, *(job_id for lane in lanes.values() for job_id in lane)]

            assert repeated(places) == []
            assert set(places) == waiting
            assert set(self.redis.zrange(f"waiting:{pool}", 0, -1)) == waiting
            turns, parked = (
                set(self.redis.zrange(f"ring:{pool}", 0, -1)),
                self.redis.smembers(f"parked:{pool}"),
            )
            assert turns | parked == {tenant for tenant in lanes if lanes[tenant]}
            for tenant, lane in lanes.items():
                assert {self.model.jobs[int(job_id)].job.tenant for job_id in lane} <= {tenant}
                if len(published) < AHEAD and lane and pool not in self.held_back:
                    assert self._is_at_its_limit(tenant, int(lane[0])), "no place is left empty"
            assert len(published) <= AHEAD

    @invariant()
    def nothing_new_is_published_of_a_paused_pool(self):
        for pool, before in self.held_back.items():
            published = self._published(pool)
            assert published <= before
            self.held_back[pool] = published

    @invariant()
    def no_tenant_has_more_on_its_way_than_it_may(self):
        for tenant in TENANTS:
            busy = self._busy(tenant)
            assert ids(self.redis.smembers(f"busy:{tenant}")) == busy
            limits = [self.model.jobs[job_id].most_running for job_id in busy]
            assert len(busy) <= max(limits, default=0)

    @invariant()
    def leases_delays_and_quotas_are_those_of_the_jobs(self):
        model = self.model
        delayed = {job_id for job_id, entry in model.jobs.items() if entry.delayed}

        assert ids(self.redis.zrange("leases", 0, -1)) == model.in_state("running")
        assert ids(self.redis.zrange("delayed", 0, -1)) == delayed
        assert all(
            model.jobs[job_id].state not in FINAL
            for job_id in ids(self.redis.zrange("deadlines", 0, -1))
        )
        for tenant in TENANTS:
            assert ids(self.redis.smembers(f"live:{tenant}")) == model.live(tenant)
        assert self.redis.xlen("dead") == model.dead

    @invariant()
    def every_webhook_of_a_final_job_is_in_the_outbox_or_settled(self):
        model = self.model

        assert ids(self.redis.zrange("outbox", 0, -1)) == model.webhooks("due", "taken", "waits")
        for job_id in model.webhooks("delivered", "given_up"):
            status = self.redis.hget(f"job:{job_id}", "webhook_status")
            assert status == model.jobs[job_id].webhook
        for job_id, entry in model.jobs.items():
            assert bool(entry.webhook) == bool(entry.state in FINAL and entry.job.webhook)
            if entry.deliveries:
                assert self.redis.llen(f"attempts:{job_id}") == entry.deliveries

    def teardown(self):
        """Whatever happened: reap, claim and succeed, and nothing is left over."""
        self._resume(list(self.held_back))
        for _ in range(2 * MAX_ATTEMPTS):
            self._bring_everything_back()
            for pool in POOLS:
                while self.redis.exists(f"gpu.{pool}"):
                    if attempt := self._claim(Held(*self._pop(pool), owner=self._owner())):
                        self._finish(attempt, "succeeded")
        while deliveries := self._take(3):
            for delivery in deliveries:
                self._settle(delivery, "delivered")

        assert {entry.state for entry in self.model.jobs.values()} <= set(FINAL)
        assert self.model.webhooks("due", "taken", "waits") == set()
        kept = ("lane", "ring", "parked", "busy", "published", "waiting", "live")
        for pattern in (*(f"{name}:*" for name in kept), "gpu.*"):
            assert self.redis.keys(pattern) == []
        assert self.redis.exists("leases", "delayed", "deadlines", "outbox") == 0

    def _new_job(self, **fields: Any) -> Job:
        return make_job(id=len(self.model.jobs) + 1, **fields)

    def _submit(self, submission: Submission) -> None:
        waiting = self.model.waiting(submission.job.pool)

        receipt = self.others.run(self.others.submissions.submit(submission))

        assert (receipt.outcome, receipt.job_id) == self.model.submit(submission)
        assert receipt.waiting == waiting
        self.submissions.append(submission)

    def _pop(self, pool: str) -> Message:
        return parse(str(self.redis.rpop(f"gpu.{pool}")))

    def _owner(self) -> str:
        return f"worker:{len(self.attempts)}"

    def _claim(self, held: Held) -> Attempt | None:
        attempt = self.worker.claim(str(held.job_id), str(held.generation), held.owner)

        number = self.model.claim(held)
        assert (attempt.number if attempt else None) == number
        if attempt:
            assert (held_by(attempt), attempt.job) == (held, self.model.jobs[held.job_id].job)
            self.attempts.append(attempt)
        return attempt

    def _finish(self, attempt: Attempt, state: str) -> None:
        if state == "succeeded":
            ended = self.worker.succeed(attempt, RESULT)
        else:
            ended = self.worker.fail(attempt, FAILURE)

        assert ended == self.model.finish(held_by(attempt), state)

    def _reap(self) -> Reaped:
        reaped = self.others.run(self.others.reaper.reap())

        queued = {i for i in self.model.stale if self.redis.hget(f"job:{i}", "state") == "queued"}
        spared = [self.model.jobs[job_id] for job_id in queued]
        assert all(entry.most_running or entry.job.pool in self.held_back for entry in spared)
        expected = self.model.reap(spared=queued)
        assert (reaped.leases, reaped.retries, reaped.called_off) == expected
        return reaped

    def _take(self, most: int) -> list[Delivery]:
        due = self.model.webhooks("due")

        deliveries = self.others.run(self.others.deliveries.claim(most, lease=LONG))

        assert {delivery.record.job.id for delivery in deliveries} <= due
        assert len(deliveries) == min(most, len(due))
        for delivery in deliveries:
            entry = self.model.jobs[delivery.record.job.id]
            assert (delivery.attempt, delivery.record.state) == (entry.tries + 1, entry.state)
            entry.webhook, entry.taken_by = "taken", delivery
        self.taken += deliveries
        return deliveries

    def _settle(self, delivery: Delivery, outcome: str) -> None:
        deliveries = self.others.deliveries
        match outcome:
            case "delivered":
                self.others.run(deliveries.delivered(delivery, LOG))
            case "retry":
                self.others.run(deliveries.retry(delivery, LOG, LONG.total_seconds()))
            case "given_up":
                self.others.run(deliveries.give_up(delivery, LOG))
        self.model.settle(delivery, outcome)

    def _bring_everything_back(self) -> None:
        self.redis.set("reap:grace", LONG_AGO)
        self.model.grace = self.model.paused = False
        for job_id in self.model.in_state("running"):
            self.redis.zadd("leases", {str(job_id): LONG_AGO})
            self.model.overdue.add(job_id)
        for job_id in self.redis.zrange("delayed", 0, -1):
            self.redis.zadd("delayed", {job_id: LONG_AGO})
            self.model.due.add(int(job_id))
        for job_id in self.model.webhooks("taken", "waits"):
            self.redis.zadd("outbox", {str(job_id): LONG_AGO})
            self.model.jobs[job_id].webhook = "due"
        self.redis.delete("reap:last")
        self.reap_when_every_message_is_late()

    def _resume(self, pools: list[str]) -> None:
        self.others.run(self.others.pauses.resume(pools))
        for pool in pools:
            del self.held_back[pool]
            self.redis.hset("pauses", pool, LONG_AGO)  # or none of it could be too late for long

    def _published(self, pool: str) -> set[str]:
        return set(self.redis.zrange(f"published:{pool}", 0, -1))

    def _busy(self, tenant: str) -> set[int]:
        """Jobs that count towards the tenant's limit."""
        published = {job_id for p in POOLS for job_id in self.redis.zrange(f"published:{p}", 0, -1)}
        on_the_way = ids(published) | self.model.in_state("running")
        return {i for i in on_the_way & self.model.live(tenant) if self.model.jobs[i].most_running}

    def _is_at_its_limit(self, tenant: str, job_id: int) -> bool:
        most_running = self.model.jobs[job_id].most_running
        return most_running is not None and len(self._busy(tenant)) >= most_running

    def _pools_with_messages(self) -> list[str]:
        return [pool for pool in POOLS if self.redis.exists(f"gpu.{pool}")]

    def _has_late_ones(self) -> bool:
        model = self.model
        return bool(model.overdue or model.due or model.late or model.stale)

    def _make_messages_late(self) -> None:
        for pool in POOLS:
            for job_id in self.redis.zrange(f"published:{pool}", 0, -1):
                self.redis.zadd(f"published:{pool}", {job_id: LONG_AGO})


def parse(message: str) -> Message:
    """The job and the generation that a Celery message means."""
    (job_id, generation), *_ = json.loads(json.loads(message)["body"])
    return int(job_id), int(generation)


def pick(data: st.DataObject, things: Sequence[T]) -> T:
    """One of them, by its place from the end: the newest are the likeliest to matter."""
    return things[-1 - data.draw(st.integers(0, len(things) - 1))]


def held_by(attempt: Attempt) -> Held:
    return Held(attempt.job.id, attempt.generation, attempt.owner)


def ids(members: Any) -> set[int]:
    return {int(member) for member in members}


@pytest.fixture
def asynchronous(valkey_server):
    sides = Async(valkey_server.url, SETTINGS)
    yield sides
    sides.close()


SETTINGS = Settings(publish_ahead=AHEAD, max_attempts=MAX_ATTEMPTS, lease=LONG, start_within=LONG)


def test_whatever_happens_no_job_is_lost_doubled_or_in_two_places(redis, asynchronous):
    run_state_machine_as_test(
        lambda: LedgerMachine(redis, asynchronous, SETTINGS),
        settings=settings(
            max_examples=25,
            stateful_step_count=50,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
