"""Couriers that die or come in numbers: whoever is left reaps."""

import pytest

from tests.e2e.failures.scene import LONG, SLOWLY, WORKERS, scene, until


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with scene(tmp_path_factory.mktemp("two"), workers=(*WORKERS, "courier-2"), **SLOWLY) as two:
        two.submit()
        two.settled(extra_starts=0)
        yield two


def test_two_couriers_bring_a_job_back_once(service):
    job = service.submit(**LONG)
    until(lambda: service.is_painted(job))
    worker = service.worker_of(job)

    service.stack.kill(worker)

    assert service.settled(extra_starts=1) == {"succeeded": 1}
    service.replace(worker)


def test_a_courier_that_dies_with_a_worker_holds_up_nothing(service):
    service.stack.await_ready(*WORKERS)
    job = service.submit(**LONG)
    until(lambda: service.is_painted(job))
    worker = service.worker_of(job)

    service.stack.kill("courier")
    service.stack.kill(worker)

    assert service.settled(extra_starts=1) == {"succeeded": 1}
    service.replace(worker, "courier")


def test_without_any_courier_jobs_wait_and_nothing_is_lost(service):
    service.stack.await_ready(*WORKERS)
    job = service.submit(**LONG)
    until(lambda: service.is_painted(job))
    worker = service.worker_of(job)

    for name in ("courier", "courier-2"):
        service.stack.kill(name)
        service.stack.stop_process(name)
    service.stack.kill(worker)
    others = [service.submit(seed=n) for n in range(3)]
    until(lambda: all(service.state(one) == "succeeded" for one in others))
    assert service.state(job) == "running", "nobody noticed"
    service.replace("courier", "courier-2", worker)

    assert service.settled(extra_starts=1) == {"succeeded": 4}
