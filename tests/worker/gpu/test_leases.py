"""The attempts that a worker holds, over a real ledger."""

import logging
import threading
from datetime import timedelta

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.config import Settings
from tests.jobs import RESULT, make_job
from tests.ledger import Ledger
from tests.worker.gpu.fakes import make_sample
from worker.gpu.leases import Leases

SECONDS = 10


@pytest.fixture
def ledger(redis) -> Ledger:
    return Ledger(redis, Settings())


@pytest.fixture
def leases(ledger) -> Leases:
    return Leases(ledger.attempts, every=timedelta(milliseconds=1))


def task_id(attempt) -> str:
    return f"{attempt.job.id}.{attempt.generation}"


def test_a_lease_that_was_about_to_end_is_renewed(ledger, leases):
    job = make_job()

    with leases.hold(ledger.running(job)) as held:
        ledger.make_due("leases", job)
        leases.renew()

    assert ledger.due_in("leases", job) > 5
    assert ledger.reap().leases == 0
    assert not held.dropped


def test_renewing_notes_the_steps_of_all_samples(ledger, leases):
    job = make_job()

    with leases.hold(ledger.running(job)) as held:
        held.samples = [make_sample(), make_sample(), make_sample()]
        held.samples[0].step, held.samples[0].total = 4, 4
        held.samples[1].step, held.samples[1].total = 1, 4
        leases.renew()

    assert (ledger.record(job).step, ledger.record(job).steps) == (5, 12)


def test_checks_are_no_further_steps_and_are_cancelled_with_the_rest(ledger, leases):
    job = make_job()

    with leases.hold(ledger.running(job)) as held:
        held.samples, held.checks = [make_sample()], [make_sample()]
        held.samples[0].step, held.samples[0].total = 4, 4
        leases.renew()
        held.drop()

    assert (ledger.record(job).step, ledger.record(job).steps) == (4, 4)
    assert held.checks[0].done.cancelled()


def test_a_lost_lease_cancels_what_is_still_made_and_no_other_job(ledger, leases):
    lost, kept = make_job(), make_job()

    with leases.hold(ledger.running(lost)) as one, leases.hold(ledger.running(kept)) as other:
        one.samples, other.samples = [make_sample(), make_sample()], [make_sample()]
        one.samples[0].done.set_result("done before")
        ledger.make_due("leases", lost)
        ledger.reap()
        leases.renew()

    assert (one.dropped, other.dropped) == (True, False)
    assert [sample.done.cancelled() for sample in one.samples] == [False, True]
    assert not other.samples[0].done.done()


def test_an_attempt_that_has_ended_is_neither_renewed_nor_lost(ledger, leases, caplog):
    job = make_job()
    attempt = ledger.running(job)

    with leases.hold(attempt):
        ledger.attempts.succeed(attempt, RESULT)
    leases.renew()

    assert ledger.redis.zcard("leases") == 0
    assert caplog.records == []


def test_a_job_is_let_go_also_when_its_runner_fails(ledger, leases):
    attempt = ledger.running(make_job())

    with pytest.raises(ValueError, match="broken"), leases.hold(attempt):
        raise ValueError("broken")
    leases.hand_all_back()

    assert ledger.record(attempt.job).state == "running"


def test_handing_back_gives_the_job_to_another_worker_at_once_and_uncharged(ledger, leases):
    job = make_job()
    attempt = ledger.running(job)

    with leases.hold(attempt) as held:
        held.samples = [make_sample()]
        leases.hand_back(task_id(attempt))

    assert held.samples[0].done.cancelled()
    assert not ledger.attempts.succeed(attempt, RESULT)
    assert ledger.claim(job).number == 1


@pytest.mark.parametrize("stop", ["one", "all"])
def test_a_stop_between_the_claim_and_the_start_of_a_job_gives_it_back(ledger, leases, stop):
    attempt = ledger.running(make_job())

    if stop == "one":
        leases.hand_back(task_id(attempt))
    else:
        leases.hand_all_back()
    with leases.hold(attempt) as held:
        assert held.dropped

    assert ledger.claim(attempt.job).number == 1


def test_handing_back_what_is_not_held_does_nothing(ledger, leases):
    attempt = ledger.running(make_job())

    leases.hand_back(task_id(attempt))

    assert ledger.record(attempt.job).state == "running"


def test_a_worker_that_stops_hands_every_job_back(ledger, leases):
    jobs = [make_job() for _ in range(3)]
    attempts = [ledger.running(job) for job in jobs]

    with leases.hold(attempts[0]), leases.hold(attempts[1]), leases.hold(attempts[2]):
        leases.hand_all_back()

    assert [ledger.record(job).state for job in jobs] == ["queued"] * 3
    assert ledger.redis.zcard("leases") == 0


def test_the_thread_renews_until_it_is_stopped(ledger, leases):
    job = make_job()
    beats = []

    def count():
        beats.append(threading.current_thread().name)
        if len(beats) == 3:
            enough.set()

    enough = threading.Event()
    with leases.hold(ledger.running(job)):
        ledger.make_due("leases", job)
        leases.start(before_each=count)
        assert enough.wait(SECONDS)
        leases.stop()

    assert set(beats) == {"leases"}
    assert ledger.due_in("leases", job) > 5


def test_a_redis_that_is_away_does_not_end_the_thread(ledger, leases, caplog):
    job = make_job()
    caplog.set_level(logging.WARNING)

    def be_away_twice():
        if len(caplog.records) < 2:
            raise RedisConnectionError("away")
        again.set()

    again = threading.Event()
    with leases.hold(ledger.running(job)):
        leases.start(before_each=be_away_twice)
        assert again.wait(SECONDS)
        leases.stop()

    assert [record.message for record in caplog.records] == ["leases not renewed"] * 2


def test_leases_that_never_started_can_be_stopped(leases):
    leases.stop()
