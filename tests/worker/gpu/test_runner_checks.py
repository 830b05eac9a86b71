"""What a runner does with pictures that are checked for safety."""

import io
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from PIL import Image

from shared.config import Settings
from shared.errors import OutOfMemory
from tests.ledger import Ledger
from tests.worker.gpu.benches import job_of, make_bench, run
from tests.worker.gpu.fakes import CARD
from tests.worker.gpu.stand_ins import paint
from worker.gpu.checks import Checks
from worker.gpu.engine import EngineStopped
from worker.gpu.families import DeviceLost
from worker.gpu.metrics import FLAGGED
from worker.gpu.samples import Picture

CHECKER = CARD.model_copy(update={"model_id": "checker"})
BRIGHT = 100
"""The checker of these tests finds bright pictures unsafe."""


@pytest.fixture
def ledger(redis) -> Ledger:
    return Ledger(redis, Settings())


@pytest.fixture
def bench(ledger):
    return make_bench(ledger)


def check_pictures(bench, *, required=False, verdict=lambda brightness: brightness > BRIGHT):
    """Let the engine paint samples in the brightness of their seeds, and judge those pictures."""

    def answer(sample):
        if sample.model_id == CHECKER.model_id:
            unsafe = verdict(float(sample.image.mean()))
            sample.succeed(Picture(sample.image, steps=1, unsafe=unsafe))
        else:
            sample.succeed(Picture(np.full_like(sample.image, sample.seed), sample.steps))

    bench.runner = replace(bench.runner, checks=Checks({CARD.model_id: CHECKER}, required))
    bench.engine.answer = answer


def stored(bench):
    """The stored pictures' brightest and darkest values."""
    bodies = [stored.body for stored in bench.store.objects.values()]
    return [Image.open(io.BytesIO(body)).convert("L").getextrema() for body in bodies]


def test_unsafe_pictures_are_covered_and_named_and_the_others_are_as_they_were(bench, ledger):
    job = job_of(seeds=(7, 200, 8), safety_checker=True, safety_checker_type="black")
    ledger.submit(job)
    flagged = FLAGGED._value.get()  # noqa: SLF001 (there is no public way)

    check_pictures(bench)
    record = run(bench, ledger, job)

    assert record.result.unsafe == (False, True, False)
    assert stored(bench) == [(7, 7), (0, 0), (8, 8)]
    assert FLAGGED._value.get() - flagged == 1  # noqa: SLF001


def test_a_jobs_pictures_are_checked_together(bench, ledger):
    job = job_of(seeds=(1, 2), safety_checker=True)
    ledger.submit(job)

    check_pictures(bench)
    calls = []
    submit = bench.engine.submit
    bench.engine.submit = lambda samples, **_: (calls.append(len(samples)), submit(samples))
    run(bench, ledger, job)

    assert calls == [2, 2]


@pytest.mark.parametrize(("required", "unsafe"), [(False, ()), (True, (True,))])
def test_who_asks_for_no_check_has_one_only_where_it_is_required(bench, ledger, required, unsafe):
    job = job_of(seeds=(200,), safety_checker=False)
    ledger.submit(job)

    check_pictures(bench, required=required)
    record = run(bench, ledger, job)

    assert record.result.unsafe == unsafe
    assert (stored(bench) == [(200, 200)]) is not required


def test_where_no_checker_is_the_picture_is_handed_out_unchecked(bench, ledger):
    job = job_of(safety_checker=True)
    ledger.submit(job)

    record = run(bench, ledger, job)

    assert record.result.unsafe == ()


def test_a_checker_that_says_nothing_has_not_said_safe(bench, ledger):
    job = job_of(seeds=(7,), safety_checker=True, safety_checker_type="black")
    ledger.submit(job)

    check_pictures(bench, verdict=lambda brightness: None)
    record = run(bench, ledger, job)

    assert record.result.unsafe == (True,)
    assert stored(bench) == [(0, 0)]


@pytest.mark.parametrize(
    ("error", "state", "attempts"),
    [
        (ValueError("no number"), "queued", 1),
        (DeviceLost("CUDA error"), "queued", 1),
        (EngineStopped("stopped"), "queued", 0),
        (OutOfMemory("it does not fit"), "failed", 1),
    ],
)
def test_without_a_verdict_no_picture_is_stored(bench, ledger, error, state, attempts):
    job = job_of(seeds=(7, 8), safety_checker=True)
    ledger.submit(job)
    check_pictures(bench)

    judge = bench.engine.answer

    def answer(sample):
        if sample.model_id == CHECKER.model_id and sample.image.mean() == 8:
            sample.fail(error)
        else:
            judge(sample)

    bench.engine.answer = answer
    record = run(bench, ledger, job)

    assert (record.state, record.attempts, record.result) == (state, attempts, None)
    assert bench.store.objects == {}


def test_a_check_that_takes_too_long_fails_the_job_and_leaves_the_device(bench, ledger):
    job = job_of(safety_checker=True)
    ledger.submit(job)
    check_pictures(bench)

    bench.engine.answer = lambda s: None if s.model_id == CHECKER.model_id else paint(s)
    bench.runner = replace(bench.runner, timeout=timedelta(0))
    record = run(bench, ledger, job)

    assert (record.state, record.failure.code) == ("failed", "timed_out")
    assert bench.engine.submitted[-1].done.cancelled()


def test_a_job_that_is_handed_back_while_it_is_painted_is_not_checked(bench, ledger):
    job = job_of(safety_checker=True)
    ledger.submit(job)
    check_pictures(bench)

    bench.engine.answer = lambda sample: (paint(sample), bench.leases.hand_all_back())
    record = run(bench, ledger, job)

    assert (record.state, record.generation, record.attempts) == ("queued", 2, 0)
    assert len(bench.engine.submitted) == 1


def check_job():
    return job_of(task="check", scheduler="", steps=1, strength=1.0, guidance_scale=1.0)


def test_a_job_that_is_only_a_check_has_a_verdict_and_no_pictures(bench, ledger):
    job = check_job()
    ledger.submit(job)
    check_pictures(bench, verdict=lambda brightness: True)
    record = run(bench, ledger, job)

    assert (record.state, record.result.unsafe, record.result.keys) == ("succeeded", (True,), ())
    assert (record.result.width, record.result.height) == (64, 64)
    assert [sample.model_id for sample in bench.engine.submitted] == [CHECKER.model_id]
    assert bench.store.objects == {}


def test_a_check_without_an_answer_is_tried_again(bench, ledger):
    job = check_job()
    ledger.submit(job)
    check_pictures(bench)
    bench.engine.answer = lambda sample: sample.fail(ValueError("no number"))
    record = run(bench, ledger, job)

    assert (record.state, record.attempts) == ("queued", 1)


def test_a_check_where_no_checker_is_fails_and_does_not_pass(bench, ledger):
    job = check_job()
    ledger.submit(job)
    record = run(bench, ledger, job)

    assert (record.state, record.failure.code) == ("failed", "internal_error")


def test_a_check_of_what_is_no_image_fails_by_name(bench, ledger):
    job = check_job()
    ledger.submit(job)
    check_pictures(bench)
    bench.runner = replace(bench.runner, fetch=lambda source, field: b"GIF89a")
    record = run(bench, ledger, job)

    assert record.state == "failed"
    assert "init_image" in record.failure.message
