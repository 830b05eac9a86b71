"""Failures in the engine, over a fake model: whom one concerns."""

import gc
import logging
import subprocess
import sys
import threading
import weakref
from concurrent.futures import CancelledError, wait

import pytest

from shared.errors import OutOfMemory
from tests.worker.gpu.fakes import FakePipeline, FakePipelines, make_sample
from worker.gpu.app import DEVICE_LOST
from worker.gpu.engine import Engine, EngineStopped
from worker.gpu.families import DeviceLost, DeviceMemoryFull

SECONDS = 10


@pytest.fixture
def pipeline() -> FakePipeline:
    return FakePipeline()


def fail_when(call, error, *, prompt):
    """A `before` that raises for samples of one prompt."""

    def before(name, samples, rows):
        if name == call and any(sample.prompt == prompt for sample in samples):
            raise error

    return before


@pytest.mark.parametrize("call", ["begin", "predict", "advance", "finish"])
def test_a_failure_concerns_its_sample_only(pipeline, make_engine, call):
    engine = make_engine(pipeline, buckets=(4,))
    pipeline.before = fail_when(call, ValueError("broken"), prompt="bad")
    good, bad, good_too = make_sample(), make_sample(prompt="bad"), make_sample()

    engine.submit([good, bad, good_too])

    assert isinstance(bad.done.exception(SECONDS), ValueError)
    assert [s.done.result(SECONDS).steps for s in (good, good_too)] == [4, 4]
    assert {rows for _, rows in pipeline.forwards} == {4}


def test_the_failure_in_a_future_keeps_nothing_of_its_frames(pipeline, make_engine, caplog):
    caplog.set_level(logging.CRITICAL + 1, "worker.gpu.engine")  # a captured record keeps them

    class Tensor:
        pass

    def before(name, samples, rows):
        if name == "advance":
            tensor = Tensor()
            kept.append(weakref.ref(tensor))
            try:
                raise KeyError("inner")
            except KeyError as error:
                raise ValueError("outer") from error

    kept = []
    engine = make_engine(pipeline)
    pipeline.before = before
    sample = make_sample()

    engine.submit([sample])
    failure = sample.done.exception(SECONDS)
    engine.stop()
    gc.collect()

    assert failure.__traceback__ is None
    assert kept[0]() is None
    assert sample.denoising is None


def test_out_of_memory_halves_the_batch_until_it_fits(pipeline, make_engine):
    def before(name, samples, rows):
        if name == "predict" and rows > 2:
            raise DeviceMemoryFull("too many")

    engine = make_engine(pipeline)
    pipeline.before = before
    samples = [make_sample() for _ in range(8)]

    engine.submit(samples)
    pictures = [sample.done.result(SECONDS) for sample in samples]

    assert [picture.steps for picture in pictures] == [4] * 8
    assert {rows for _, rows in pipeline.forwards} == {2}


def test_who_begins_again_lets_those_end_whose_memory_it_waits_for(pipeline, make_engine):
    def before(name, samples, rows):
        if name == "predict" and rows > 1:
            raise DeviceMemoryFull("only one at a time from now on")
        if name == "advance" and not full:
            full.append(samples[0])
            raise DeviceMemoryFull("for now")

    full = []
    engine = make_engine(pipeline)
    pipeline.before = before
    first, second = make_sample(), make_sample()

    engine.submit([first, second])

    assert [sample.done.result(SECONDS).steps for sample in (first, second)] == [4, 4]
    assert full == [first]


@pytest.mark.parametrize("call", ["begin", "predict", "finish"])
def test_what_does_not_fit_alone_fails_as_the_caller_is_told(pipeline, make_engine, call):
    engine = make_engine(pipeline)
    pipeline.before = fail_when(call, DeviceMemoryFull("no"), prompt="huge")
    huge, fine = make_sample(prompt="huge", side=128), make_sample()

    engine.submit([huge, fine])

    assert isinstance(huge.done.exception(SECONDS), OutOfMemory)
    assert fine.done.result(SECONDS).steps == 4


def test_a_cancelled_sample_takes_no_further_step(pipeline, make_engine):
    engine = make_engine(pipeline)
    cancelled, other = make_sample(), make_sample()

    def before(name, samples, rows):
        if name == "predict" and len(pipeline.forwards) == 1:
            cancelled.done.cancel()

    pipeline.before = before
    engine.submit([cancelled, other])

    assert other.done.result(SECONDS).steps == 4
    assert [len(batch) for batch, _ in pipeline.forwards] == [2, 2, 1, 1]
    assert wait([cancelled.done], SECONDS).done
    with pytest.raises(CancelledError):
        cancelled.done.result()
    assert cancelled.denoising is None


@pytest.mark.parametrize("call", ["begin", "predict", "advance", "finish"])
def test_a_lost_device_ends_the_engine_and_is_reported(pipeline, make_engine, call):
    reported = threading.Event()
    engine = make_engine(pipeline, on_device_lost=lambda error: reported.set())
    pipeline.before = fail_when(call, DeviceLost("CUDA error"), prompt="a cat")
    samples = [make_sample(), make_sample(side=128)]

    engine.submit(samples)

    assert all(isinstance(s.done.exception(SECONDS), DeviceLost) for s in samples)
    assert reported.wait(SECONDS)
    with pytest.raises(EngineStopped):
        engine.submit([make_sample()])


def test_the_engine_can_be_stopped_by_whoever_hears_of_the_loss(pipeline, make_engine):
    stopped = threading.Event()
    engine = make_engine(pipeline, on_device_lost=lambda error: (engine.stop(), stopped.set()))
    pipeline.before = fail_when("predict", DeviceLost("CUDA error"), prompt="a cat")

    engine.submit([make_sample()])

    assert stopped.wait(SECONDS)


def test_start_raises_what_the_warm_up_raises(pipeline):
    pipelines = FakePipelines(pipeline)
    pipelines.warm_up = lambda buckets: pipelines.get("another")
    engine = Engine(pipelines, on_device_lost=lambda error: None)

    with pytest.raises(KeyError):
        engine.start()


def test_a_worker_whose_device_is_lost_ends_for_the_supervisor_to_see():
    script = (
        "from tests.worker.gpu.fakes import FakePipeline, FakePipelines, make_sample\n"
        "from worker.gpu import app\n"
        "from worker.gpu.engine import Engine\n"
        "from worker.gpu.families import DeviceLost\n"
        "def lose(*_): raise DeviceLost('CUDA error: an illegal memory access')\n"
        "pipeline = FakePipeline()\n"
        "pipeline.before = lose\n"
        "engine = Engine(FakePipelines(pipeline), on_device_lost=app._exit)\n"
        "engine.start()\n"
        "engine.submit([make_sample()])\n"
        "engine._thread.join()\n"
    )

    ended = subprocess.run([sys.executable, "-c", script], timeout=120, check=False)

    assert ended.returncode == DEVICE_LOST == 70


def test_a_sample_that_is_cancelled_in_its_last_step_is_not_decoded(pipeline, make_engine):
    def before(name, samples, rows):
        calls.append(name)
        if name == "advance":
            cancelled.done.cancel()

    calls = []
    pipeline.before = before
    cancelled = make_sample(steps=1)

    make_engine(pipeline).submit([cancelled])

    assert wait([cancelled.done], SECONDS).done
    assert calls == ["begin", "predict", "advance"]
