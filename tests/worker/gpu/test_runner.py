"""One job at a time through a runner, a real ledger, and stand-ins for the device and the store."""

import base64
import io
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from shared.add_ons import AddOn, AddOns, Embedding
from shared.config import Settings
from shared.errors import BadInput, OutOfMemory
from shared.jobs import LoraUse
from shared.models import Registry
from tests.jobs import FAILURE, make_job
from tests.ledger import Ledger
from tests.worker.gpu.fakes import CARD
from tests.worker.gpu.pictures import encoded, photo
from tests.worker.gpu.stand_ins import FakeEngine, MemoryStore, paint
from worker.gpu.engine import EngineStopped
from worker.gpu.leases import Leases
from worker.gpu.metrics import ATTEMPTS
from worker.gpu.runner import JobRunner

RETRY_DELAY = timedelta(seconds=60)
ADD_ONS = AddOns(
    loras={"ink": AddOn(name="ink", family="sd", source=Path("ink"))},
    embeddings={"moss": Embedding(name="moss", family="sd", source=Path("moss"), token="<moss>")},
    vaes={"mse": AddOn(name="mse", family="sd", source=Path("mse"))},
)


@pytest.fixture
def ledger(redis) -> Ledger:
    return Ledger(redis, Settings())


@pytest.fixture
def bench(ledger):
    """A runner, and what it was given."""
    engine, store = FakeEngine(), MemoryStore()
    leases = Leases(ledger.attempts, every=timedelta(hours=1))
    runner = JobRunner(
        name="gpu0",
        attempts=ledger.attempts,
        leases=leases,
        engine=engine,
        registry=Registry([CARD]),
        store=store,
        fetch=lambda source, field: encoded(photo((64, 64))),
        timeout=timedelta(seconds=30),
        retry_delay=RETRY_DELAY,
        add_ons=ADD_ONS,
    )
    return SimpleNamespace(runner=runner, engine=engine, store=store, leases=leases)


def job_of(**changes):
    """A job for the fake model; `params` fields go where they belong."""
    job = make_job(**{name: changes.pop(name) for name in ("id", "pool") if name in changes})
    params = job.params.model_copy(update={"model_id": CARD.model_id} | changes)
    return job.model_copy(update={"params": params})


def run(bench, ledger, job):
    """As the message that is on its way would have it run."""
    bench.runner.run(str(job.id), str(ledger.record(job).generation))
    return ledger.record(job)


def counted(outcome: str) -> float:
    return ATTEMPTS.labels(outcome)._value.get()  # noqa: SLF001 (there is no public way)


def test_a_job_ends_with_one_stored_image_for_each_sample(bench, ledger):
    job = job_of(seeds=(5, 6))
    ledger.submit(job)

    record = run(bench, ledger, job)

    keys = [f"generations/{job.file_prefix}-{index}.png" for index in (0, 1)]
    assert record.state == "succeeded"
    assert record.result.keys == tuple(keys)
    assert (record.result.width, record.result.height) == (64, 64)
    assert record.result.scheduler == "DDIMScheduler"
    assert [sample.seed for sample in bench.engine.submitted] == [5, 6]
    assert list(bench.store.objects) == keys
    stored = bench.store.objects[keys[0]]
    assert stored.content_type == "image/png"
    assert Image.open(io.BytesIO(stored.body)).size == (64, 64)
    assert ledger.redis.zcard("leases") == 0


def test_outputs_can_be_asked_for_as_base64_text(bench, ledger):
    job = job_of(base64=True)
    ledger.submit(job)

    (key,) = run(bench, ledger, job).result.keys

    stored = bench.store.objects[key]
    assert key == f"generations/{job.file_prefix}-0.base64"
    assert stored.content_type == "text/plain"
    assert Image.open(io.BytesIO(base64.b64decode(stored.body, validate=True))).format == "PNG"


def test_a_later_attempt_writes_beside_the_first_and_runs_alone(bench, ledger):
    job = job_of()
    first = ledger.running(job)
    ledger.attempts.hand_back(first, charged=True, failure=FAILURE)

    record = run(bench, ledger, job)

    assert record.result.file_prefix == job.attempt_prefix(2) != job.file_prefix
    assert list(bench.store.objects) == [f"generations/{job.attempt_prefix(2)}-0.png"]
    assert [sample.alone for sample in bench.engine.submitted] == [True]


def test_an_attempt_that_was_not_charged_to_the_job_does_not_make_it_a_suspect(bench, ledger):
    job = job_of()
    first = ledger.running(job)
    ledger.attempts.hand_back(first, charged=False, failure=FAILURE)

    assert run(bench, ledger, job).state == "succeeded"
    assert [sample.alone for sample in bench.engine.submitted] == [False]


@pytest.mark.parametrize("generation", ["2", "0", "x"])
def test_a_message_of_another_generation_is_dropped(bench, ledger, generation):
    job = job_of()
    ledger.submit(job)

    bench.runner.run(str(job.id), generation)

    assert ledger.record(job).state == "queued"
    assert bench.engine.submitted == []


def test_a_doubled_message_is_dropped(bench, ledger):
    job = job_of()
    ledger.submit(job)
    run(bench, ledger, job)

    assert run(bench, ledger, job).state == "succeeded"
    assert len(bench.engine.submitted) == 1


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


def test_a_job_that_is_taken_away_in_the_middle_ends_nothing(bench, ledger):
    job = job_of()
    ledger.submit(job)

    def lose_it(sample):
        ledger.make_due("leases", job)
        ledger.reap()
        bench.leases.renew()

    bench.engine.answer = lose_it
    record = run(bench, ledger, job)

    assert (record.state, record.generation, record.attempts) == ("queued", 2, 1)
    assert bench.store.objects == {}


def test_a_result_that_comes_after_the_lease_ended_is_not_the_jobs(bench, ledger):
    job = job_of()
    ledger.submit(job)

    def lose_it(key):
        ledger.make_due("leases", job)
        ledger.reap()

    bench.store.before = lose_it
    record = run(bench, ledger, job)

    assert (record.state, record.generation) == ("queued", 2)
    assert record.result is None


def test_a_job_that_is_handed_back_while_its_images_are_fetched_is_not_started(bench, ledger):
    job = job_of()
    ledger.submit(job)

    def stop_meanwhile(source, field):
        bench.leases.hand_all_back()
        return encoded(photo((64, 64)))

    bench.runner = replace(bench.runner, fetch=stop_meanwhile)
    record = run(bench, ledger, job)

    assert (record.state, record.generation, record.attempts) == ("queued", 2, 0)
    assert bench.engine.submitted == []


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


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_an_engine_that_stops_gives_the_job_to_another_worker(bench, ledger, when):
    job = job_of()
    ledger.submit(job)

    bench.engine.stopped = when == "before"
    bench.engine.answer = lambda sample: sample.fail(EngineStopped("the engine was stopped"))
    record = run(bench, ledger, job)

    assert (record.state, record.generation, record.attempts) == ("queued", 2, 0)
    assert ledger.redis.zcard("delayed") == 0
    assert ledger.redis.zcard("leases") == 0


def test_what_a_request_adds_reaches_the_engine_as_cards(bench, ledger):
    job = job_of(loras=(LoraUse(name="ink", strength=0.5),), embeddings=("moss",), vae="mse")
    ledger.submit(job)

    run(bench, ledger, job)

    (sample,) = bench.engine.submitted
    assert sample.loras == ((ADD_ONS.loras["ink"], 0.5),)
    assert sample.embeddings == (ADD_ONS.embeddings["moss"],)
    assert sample.vae == ADD_ONS.vaes["mse"]


@pytest.mark.parametrize(
    "gone", [{"loras": (LoraUse(name="gone"),)}, {"embeddings": ("gone",)}, {"vae": "gone"}]
)
def test_what_this_worker_does_not_have_fails_the_job_and_is_named(bench, ledger, gone):
    job = job_of(**gone)
    ledger.submit(job)

    record = run(bench, ledger, job)

    assert record.failure.message == "This deployment no longer has 'gone'"
