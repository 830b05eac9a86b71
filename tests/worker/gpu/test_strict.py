"""Strict samples: the same bits whoever shares the engine, and a failure where that cannot be."""

import random
from concurrent.futures import wait

import pytest
import torch

from shared.errors import OutOfMemory
from tests.worker.gpu.fakes import FakePipeline, Recorder, make_sample
from tests.worker.gpu.plain import half_mask, picture
from worker.gpu.families import DeviceMemoryFull, load

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

SECONDS = 120
KINDS = [
    {"scheduler": "EulerAncestralDiscreteScheduler", "steps": 5, "strength": 0.8},
    {"scheduler": "DPMSolverMultistepScheduler", "steps": 4, "guidance_scale": 3.0},
    {"scheduler": "DDIMScheduler", "steps": 6, "strength": 0.5, "mask": half_mask()},
    {"scheduler": "PNDMScheduler", "steps": 4, "image": None, "prompt": "a dog " * 50},
]


def strict(kind):
    """A new sample of a kind; those of one kind must come out alike to the bit."""
    return make_sample(
        **{"model_id": "demo", "image": picture(kind), "seed": kind, "strict": True} | KINDS[kind]
    )


def neighbour(rng):
    return make_sample(
        model_id="demo",
        image=picture(rng.randrange(3)),
        seed=rng.randrange(99),
        steps=rng.randrange(1, 6),
        guidance_scale=rng.choice((1.0, 7.5)),
        strict=rng.random() < 0.3,
    )


class Weather:
    """What goes on around strict samples: others come and go, memory runs out and comes back."""

    def __init__(self, engine, waiting, rng):
        self.engine, self.waiting, self.rng = engine, waiting, rng
        self.others = []
        self.lost = 0

    def __call__(self, samples):
        for _ in range(self.rng.randrange(2)):
            self.others.append(neighbour(self.rng))
            self.engine.submit([self.others[-1]])
        if self.waiting and (self.rng.random() < 0.3 or self.engine.pending == 1):
            self.engine.submit([self.waiting.pop()])
        if self.others and self.rng.random() < 0.2:
            self.rng.choice(self.others).done.cancel()
        if not samples[0].strict and self.rng.random() < 0.3:
            self.lost += 1
            raise DeviceMemoryFull("for now")


@pytest.fixture
def alone(demo_card, make_engine):
    """The latents of a kind by itself, in an engine and a model that have seen nothing else."""

    def latents(kind, strict_bucket):
        recorder = Recorder(load(demo_card, "cpu"))
        sample = strict(kind)
        make_engine(recorder, strict_bucket=strict_bucket).submit([sample])
        sample.done.result(SECONDS)
        return recorder.latents[sample]

    return latents


@pytest.mark.parametrize("strict_bucket", [1, 3])
def test_strict_samples_have_the_same_bits_in_any_weather(demo, alone, make_engine, strict_bucket):
    expected = [alone(kind, strict_bucket) for kind in range(len(KINDS))]
    recorder = Recorder(demo)
    rng = random.Random(strict_bucket)
    engine = make_engine(recorder, strict_bucket=strict_bucket)
    ours = [(kind, strict(kind)) for kind in range(len(KINDS)) for _ in range(2)]
    rng.shuffle(ours)
    weather = Weather(engine, [sample for _, sample in ours], rng)
    recorder.before = weather

    engine.submit([weather.waiting.pop()])
    wait([sample.done for _, sample in ours], SECONDS)

    assert all(torch.equal(recorder.latents[sample], expected[kind]) for kind, sample in ours)
    assert weather.lost > 0
    assert any(sample.done.cancelled() for sample in weather.others)
    strict_rows = {rows for samples, rows in recorder.forwards if samples[0].strict}
    assert strict_rows == {strict_bucket}
    assert all(len({s.strict for s in samples}) == 1 for samples, _ in recorder.forwards)


def test_a_strict_step_that_does_not_fit_fails_with_a_reason_and_is_not_made_smaller(make_engine):
    def before(name, samples, rows):
        if name == "predict" and rows == 4:
            tried.append(rows)
            raise DeviceMemoryFull("no")

    tried = []
    pipeline = FakePipeline()
    pipeline.before = before
    sample, relaxed = make_sample(strict=True), make_sample()

    make_engine(pipeline, strict_bucket=4).submit([sample, relaxed])

    error = sample.done.exception(10)
    assert isinstance(error, OutOfMemory)
    assert "determinism strict" in error.message
    assert relaxed.done.result(10).steps == 4
    assert set(tried) == {4}


def test_the_strict_bucket_is_warm_too(make_engine):
    engine = make_engine(FakePipeline(), buckets=(2, 8), strict_bucket=3)

    assert engine._pipelines.warm == [(2, 3, 8)]  # noqa: SLF001 (the fake, not the engine)
