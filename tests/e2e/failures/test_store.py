"""A bucket that is away, slow, full, or no longer ours."""

import resource
import time

import pytest

from tests.e2e.failures.scene import SLOWLY, until


@pytest.fixture(scope="module")
def settings():
    """The second and third attempts come a while after the first."""
    return SLOWLY | {"IMG2IMG_RETRY_DELAY": "1"}


PUT = b"PUT /img2img/generations/"


def has_failed_once(service, job) -> bool:
    return service.field(job, "generation") == "2"


def test_a_bucket_that_is_away_for_a_while_costs_an_attempt(service):
    service.s3_link.refuse()
    job = service.submit()
    until(lambda: has_failed_once(service, job))
    service.s3_link.heal()

    assert service.settled(extra_starts=2) == {"succeeded": 1}


def test_an_upload_that_is_cut_off_is_sent_again_in_the_same_attempt(service):
    held = service.s3_link.hold(PUT)
    service.submit()
    assert held.arrived.wait(10)
    service.s3_link.cut()
    held.released.set()

    assert service.settled(extra_starts=0) == {"succeeded": 1}


def test_a_slow_bucket_is_waited_for(service):
    held = service.s3_link.hold(PUT, answer=True)
    service.submit()
    assert held.arrived.wait(10)
    time.sleep(3)  # longer than a lease
    held.released.set()

    assert service.settled(extra_starts=0) == {"succeeded": 1}


def test_a_bucket_without_room_for_a_while_costs_an_attempt(service):
    pid = service.s3.pid
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    job = service.submit()
    until(lambda: has_failed_once(service, job))
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

    assert service.settled(extra_starts=2) == {"succeeded": 1}


def test_a_bucket_that_refuses_our_key_fails_the_job_after_its_attempts(service):
    secret = service.s3.secret_key
    service.s3.change_secret("another")
    service.submit()
    until(lambda: all(service.state(job) == "failed" for job in service.accepted))
    service.s3.change_secret(secret)

    assert service.settled(extra_starts=2) == {"failed": 1}
