"""One job at a time through a runner: what comes of it, and of one that is taken away."""

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from shared.config import Settings
from shared.jobs import LoraUse
from tests.jobs import FAILURE
from tests.ledger import Ledger
from tests.worker.gpu.benches import ADD_ONS, job_of, make_bench, run
from tests.worker.gpu.pictures import encoded, photo
from worker.gpu.engine import EngineStopped


@pytest.fixture
def ledger(redis) -> Ledger:
    return Ledger(redis, Settings())


@pytest.fixture
def bench(ledger):
    return make_bench(ledger)


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


def test_a_later_attempt_writes_beside_the_first(bench, ledger):
    job = job_of()
    first = ledger.running(job)
    ledger.attempts.hand_back(first, charged=True, failure=FAILURE)

    record = run(bench, ledger, job)

    assert record.result.file_prefix == job.attempt_prefix(2) != job.file_prefix
    assert list(bench.store.objects) == [f"generations/{job.attempt_prefix(2)}-0.png"]


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
