"""Jobs that fail, as the ledger and the device see it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.config import Settings
from shared.errors import BadInput, OutOfMemory
from tests.ledger import Ledger
from tests.worker.gpu.benches import job_of, make_bench, run
from tests.worker.gpu.stand_ins import paint
from worker.gpu.metrics import ATTEMPTS


@pytest.fixture
def ledger(redis) -> Ledger:
    return Ledger(redis, Settings())


@pytest.fixture
def bench(ledger):
    return make_bench(ledger)


def counted(outcome: str) -> float:
    return ATTEMPTS.labels(outcome)._value.get()  # noqa: SLF001 (there is no public way)


def test_an_image_that_is_none_fails_the_job_with_the_text_for_its_caller(bench, ledger):
    job = job_of(init_image="https://example.com/page.html")
    ledger.submit(job)

    bench.runner = replace(bench.runner, fetch=lambda source, field: b"<html>")
    record = run(bench, ledger, job)

    assert (record.state, record.failure.code) == ("failed", "bad_input")
    assert "init_image" in record.failure.message
    assert bench.engine.submitted == []


def test_an_address_that_cannot_be_fetched_fails_the_job_with_the_text(bench, ledger):
    def refuse(source, field):
        raise BadInput(f"Unable to fetch image from provided URL ({field}: HTTP 404)")

    job = job_of()
    ledger.submit(job)

    bench.runner = replace(bench.runner, fetch=refuse)
    record = run(bench, ledger, job)

    message = "Unable to fetch image from provided URL (init_image: HTTP 404)"
    assert record.failure.model_dump() == {"code": "bad_input", "message": message}


def test_a_model_that_is_gone_fails_the_job(bench, ledger):
    job = job_of(model_id="gone")
    ledger.submit(job)

    record = run(bench, ledger, job)

    assert (record.state, record.attempts) == ("failed", 1)
    assert "gone" in record.failure.message


def test_what_does_not_fit_on_the_device_is_final(bench, ledger):
    job = job_of()
    ledger.submit(job)

    bench.engine.answer = lambda sample: sample.fail(OutOfMemory("it does not fit"))
    record = run(bench, ledger, job)

    assert (record.state, record.failure.code) == ("failed", "out_of_memory")


def test_a_failure_of_ours_is_tried_again_later_and_the_third_is_the_last(bench, ledger):
    def break_down(key):
        raise ConnectionError("no store")

    job = job_of()
    ledger.submit(job)
    bench.store.before = break_down

    standings = []
    for number in (1, 2):
        record = run(bench, ledger, job)
        standings.append((record.state, record.generation, record.attempts))
        assert ledger.due_in("delayed", job) == pytest.approx(60 * number, abs=20)
        ledger.make_due("delayed", job)
        ledger.reap()
    record = run(bench, ledger, job)

    assert standings == [("queued", 2, 1), ("queued", 3, 2)]
    assert (record.state, record.attempts) == ("failed", 3)
    assert record.failure.model_dump() == {"code": "internal_error", "message": "Failed, Try Again"}


def test_how_attempts_end_is_counted_as_the_ledger_has_it(bench, ledger):
    def break_down(key):
        raise ConnectionError("no store")

    job = job_of()
    ledger.submit(job)
    bench.store.before = break_down
    before = counted("retried"), counted("failed")

    for _ in range(3):
        run(bench, ledger, job)
        if ledger.redis.zcard("delayed"):
            ledger.make_due("delayed", job)
            ledger.reap()

    assert (counted("retried") - before[0], counted("failed") - before[1]) == (2, 1)


def test_a_job_that_takes_too_long_fails_and_leaves_the_device(bench, ledger):
    job = job_of(seeds=(1, 2, 3))
    ledger.submit(job)

    bench.engine.answer = lambda sample: paint(sample) if sample.seed == 1 else None
    bench.runner = replace(bench.runner, timeout=timedelta(0))
    record = run(bench, ledger, job)

    assert (record.state, record.failure.code) == ("failed", "timed_out")
    assert [sample.done.cancelled() for sample in bench.engine.submitted] == [False, True, True]


def test_when_one_sample_fails_the_others_leave_the_device(bench, ledger):
    job = job_of(seeds=(1, 2, 3))
    ledger.submit(job)

    def answer(sample):
        if sample.seed == 1:
            paint(sample)
        elif sample.seed == 2:
            sample.fail(OutOfMemory("it does not fit"))

    bench.engine.answer = answer
    record = run(bench, ledger, job)

    assert record.failure.code == "out_of_memory"
    assert bench.engine.submitted[2].done.cancelled()


def test_when_an_upload_fails_the_other_samples_leave_the_device(bench, ledger):
    def break_down(key):
        raise ConnectionError("no store")

    job = job_of(seeds=(1, 2))
    ledger.submit(job)
    bench.store.before = break_down

    bench.engine.answer = lambda sample: paint(sample) if sample.seed == 1 else None
    record = run(bench, ledger, job)

    assert record.state == "queued"
    assert bench.engine.submitted[1].done.cancelled()
