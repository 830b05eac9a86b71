"""A runner and a real engine, over a fake model: what takes too long leaves the batch."""

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from infra.simulated.device import Shelf
from shared.config import Settings
from tests.ledger import Ledger
from tests.worker.gpu.benches import job_of, make_bench, run
from tests.worker.gpu.fakes import CARD, FakePipeline, make_sample
from worker.gpu.engine import Engine
from worker.gpu.pipelines import WarmPipelines

SECONDS = 10


@pytest.fixture
def ledger(redis) -> Ledger:
    return Ledger(redis, Settings())


class Shared:
    """An engine in which a neighbour's sample joins; `submit` returns once a step is under way."""

    def __init__(self, engine, neighbour, under_way):
        self.engine, self.neighbour, self.under_way = engine, neighbour, under_way

    def submit(self, samples, **options):
        self.engine.submit([self.neighbour, *samples], **options)
        assert self.under_way.wait(SECONDS)


def test_a_job_past_its_time_leaves_the_batch_at_the_next_step(ledger, make_engine):
    def before(name, samples, rows):
        if name == "predict":
            under_way.set()
            timed_out.wait(SECONDS)

    under_way, timed_out = threading.Event(), threading.Event()
    pipeline, neighbour = FakePipeline(), make_sample()
    pipeline.before = before
    engine = Shared(make_engine(pipeline), neighbour, under_way)
    bench = make_bench(ledger)
    bench.runner = replace(bench.runner, engine=engine, timeout=timedelta(0))
    job = job_of(strength=1.0)
    ledger.submit(job)

    record = run(bench, ledger, job)
    timed_out.set()

    assert (record.state, record.failure.code) == ("failed", "timed_out")
    assert neighbour.done.result(SECONDS).steps == 4
    assert [len(batch) for batch, _ in pipeline.forwards] == [2, 1, 1, 1]


@pytest.mark.parametrize("determinism", ["relaxed", "strict"])
def test_samples_are_as_strict_as_their_job(ledger, determinism):
    bench, job = make_bench(ledger), job_of(determinism=determinism)
    ledger.submit(job)

    run(bench, ledger, job)

    assert [sample.strict for sample in bench.engine.submitted] == [determinism == "strict"]


def test_a_result_tells_what_was_done_otherwise_for_any_of_its_samples(ledger):
    def answer(sample):
        if sample.seed == 2:
            sample.degraded.add("vae_tiling")
        finish(sample)

    bench, job = make_bench(ledger), job_of(seeds=(1, 2, 3))
    finish, bench.engine.answer = bench.engine.answer, answer
    ledger.submit(job)

    assert run(bench, ledger, job).result.degraded == ("vae_tiling",)


def test_a_job_waits_for_its_model_until_it_is_loaded(ledger):
    def is_loading(*_):
        bench.leases.renew()
        said.append(ledger.record(job).is_loading)

    def load(card, device):
        if card is CARD:
            is_loading()
        pipeline = FakePipeline(card)
        pipeline.before = is_loading if card is CARD else pipeline.before
        return pipeline

    said, job, bench = [], job_of(steps=1, strength=1.0), make_bench(ledger)
    cards = [CARD.model_copy(update={"model_id": "other"}), CARD]
    engine = Engine(WarmPipelines(cards, "cpu", load, memory=Shelf(1)), on_device_lost=pytest.fail)
    bench.runner = replace(bench.runner, engine=engine)
    ledger.submit(job)
    engine.start()

    record = run(bench, ledger, job)
    engine.stop()

    assert record.state == "succeeded"
    assert said == [True] + [False] * (len(said) - 1)
    assert len(said) > 1
