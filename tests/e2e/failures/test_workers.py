"""Workers that are killed, stopped and frozen."""

import signal
import time

import pytest

from tests.e2e.failures.kill_phases import PHASES, kill_in
from tests.e2e.failures.scene import LONG, WORKERS, script, until

WITHIN_THE_DRAIN = {"num_inference_steps": 10, "strength": 1.0}
"""0.4 s of work."""
LEASE = 2.0
LOOK_AGAIN = 5.0
"""A message that was taken from the queue and not claimed is sent again after so long."""


@pytest.mark.parametrize("phase", PHASES)
def test_a_worker_killed_in_any_phase_costs_a_lease_and_no_job(service, phase):
    seconds = kill_in(phase, service)

    # A lease, a reap, the work itself, and a machine that has other things to do.
    assert seconds < (LOOK_AGAIN if phase == "claim" else LEASE) + 8


def test_a_worker_killed_with_a_full_batch_loses_none_of_it(service):
    jobs = [service.submit(**WITHIN_THE_DRAIN, seed=n) for n in range(12)]
    until(lambda: any(service.is_painted(job) for job in jobs))
    worker = next(service.worker_of(job) for job in jobs if service.is_painted(job))

    service.stack.kill(worker)

    assert service.settled(extra_starts=12) == {"succeeded": 12}
    service.replace(worker)


def test_a_worker_that_may_finish_its_jobs_before_it_stops_does_so(service):
    job = service.submit(**WITHIN_THE_DRAIN)
    until(lambda: service.state(job) == "running")
    worker = service.worker_of(job)

    service.stack.kill(worker, signal.SIGTERM)

    assert service.settled(extra_starts=0) == {"succeeded": 1}
    service.replace(worker)


@pytest.mark.parametrize(
    "signals", [[signal.SIGTERM, signal.SIGTERM], [signal.SIGINT], [signal.SIGQUIT]]
)
def test_a_worker_that_stops_in_the_middle_hands_its_job_back_uncharged(service, signals):
    job = service.submit(**LONG)
    until(lambda: service.is_painted(job))
    worker = service.worker_of(job)

    for number in signals:
        service.stack.kill(worker, number)

    assert service.settled(extra_starts=1) == {"succeeded": 1}
    assert service.field(job, "attempts") == "1"
    service.replace(worker)


def test_a_worker_stopped_between_the_claim_and_the_start_of_a_job_hands_it_back(service):
    held = service.redis_link.hold(script("claim"), answer=True)
    job = service.submit(**LONG)
    assert held.arrived.wait(10)
    worker = service.worker_of(job)
    pid = service.pids(worker)

    service.stack.kill(worker, signal.SIGTERM)
    time.sleep(1.5)  # the drain ends, with the job still on its way to the worker
    held.released.set()
    until(lambda: service.worker_of(job) not in ("", worker))

    assert service.settled(extra_starts=1) == {"succeeded": 1}
    assert service.field(job, "attempts") == "1"
    until(lambda: service.pids(worker) != pid)
    service.replace(worker)


def test_a_worker_stopped_while_it_starts_has_taken_nothing(service):
    worker = WORKERS[0]
    service.stack.await_ready(*WORKERS)
    service.stack.kill(worker)
    until(lambda: service.pids(worker)[worker])
    service.stack.kill(worker, signal.SIGTERM)

    service.submit()

    assert service.settled(extra_starts=0) == {"succeeded": 1}
    service.replace(worker)


def test_a_message_that_a_frozen_worker_took_to_its_grave_is_sent_again(service):
    service.stack.await_ready(*WORKERS)
    until(lambda: service.redis.info("clients")["blocked_clients"] == len(WORKERS))
    for worker in WORKERS:
        service.stack.kill(worker, signal.SIGSTOP)
    job = service.submit()
    assert service.redis.llen("gpu.default") == 0, "nobody took it"

    for worker in WORKERS:
        service.stack.kill(worker)
    assert service.state(job) == "queued"
    service.replace(*WORKERS)

    assert service.settled(extra_starts=0) == {"succeeded": 1}


def test_a_worker_frozen_for_longer_than_its_lease_ends_nothing_when_it_wakes(service):
    jobs = [service.submit(**LONG, seed=n) for n in range(4)]
    until(lambda: all(service.is_painted(job) for job in jobs))
    worker = service.worker_of(jobs[0])
    its_own = [job for job in jobs if service.worker_of(job) == worker]
    pid = service.pids(worker)

    service.stack.kill(worker, signal.SIGSTOP)
    until(lambda: all(service.worker_of(job) not in ("", worker) for job in its_own[:1]))
    service.stack.kill(worker, signal.SIGCONT)

    assert service.settled(extra_starts=2 * len(its_own)) == {"succeeded": 4}
    assert service.pids(worker) == pid
