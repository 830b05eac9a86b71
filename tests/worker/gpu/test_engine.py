"""The engine over a fake model: who shares a step, and how it starts and stops."""

import threading
from concurrent.futures import wait

import pytest

from shared.errors import BadInput
from tests.worker.gpu.fakes import CARD, FakePipeline, FakePipelines, make_sample
from worker.gpu.engine import Engine, EngineStopped
from worker.gpu.families import DeviceLost

SECONDS = 10


@pytest.fixture
def pipeline() -> FakePipeline:
    return FakePipeline()


def test_samples_of_different_jobs_share_every_step(pipeline, make_engine):
    engine = make_engine(pipeline)
    samples = [make_sample(job_id=job, seed=job) for job in range(4)]

    engine.submit(samples)
    pictures = [sample.done.result(SECONDS) for sample in samples]

    assert [picture.steps for picture in pictures] == [4] * 4
    assert [len(batch) for batch, _ in pipeline.forwards] == [4] * 4
    assert (engine.steps, engine.occupancy, engine.pending) == (4, 4.0, 0)


def test_prompts_of_another_length_share_no_step(pipeline, make_engine):
    engine = make_engine(pipeline)
    samples = [make_sample(prompt=prompt) for prompt in ("a cat", "a cat " * 100, "a dog")]

    engine.submit(samples)
    wait([sample.done for sample in samples], SECONDS)

    assert all(len({s.chunks for s in batch}) == 1 for batch, _ in pipeline.forwards)
    assert engine.steps == 8


def test_a_prompt_that_cannot_be_read_is_told_to_the_submitter(pipeline, make_engine):
    engine = make_engine(pipeline)

    def refuse(sample):
        raise BadInput("no")

    pipeline.prepare = refuse

    with pytest.raises(BadInput):
        engine.submit([make_sample()])
    assert engine.pending == 0


def test_a_latecomer_joins_and_the_first_leaves_it_behind(pipeline, make_engine):
    engine = make_engine(pipeline)
    early, late = make_sample(steps=3), make_sample(steps=3)
    pipeline.before = lambda name, samples, rows: (
        engine.submit([late]) if name == "predict" and not pipeline.forwards else None
    )

    engine.submit([early])
    wait([early.done, late.done], SECONDS)

    assert [batch for batch, _ in pipeline.forwards] == [
        [early],
        [early, late],
        [early, late],
        [late],
    ]


def test_a_batch_is_padded_to_the_next_bucket_but_never_over_the_cap(make_engine):
    pipeline = FakePipeline(CARD.model_copy(update={"max_batch": 6}))
    engine = make_engine(pipeline, buckets=(2, 4, 8))

    engine.submit([make_sample(steps=steps) for steps in (3, 3, 3, 1, 1, 1, 1)])
    while engine.pending:
        threading.Event().wait(0.001)

    assert [(len(batch), rows) for batch, rows in pipeline.forwards] == [(6, 6), (4, 4), (3, 4)]


def test_a_sample_without_steps_is_finished_at_once(pipeline, make_engine):
    engine = make_engine(pipeline)
    sample = make_sample(strength=0.0)

    engine.submit([sample])

    assert sample.done.result(SECONDS).steps == 0
    assert pipeline.forwards == []


def test_stopping_fails_what_is_left_and_takes_no_more(pipeline, make_engine):
    engine = make_engine(pipeline)
    running, stopping = threading.Event(), threading.Event()

    def before(name, samples, rows):
        running.set()
        stopping.wait(SECONDS)

    pipeline.before = before
    samples = [make_sample(), make_sample(side=128)]
    engine.submit(samples)
    running.wait(SECONDS)
    stopper = threading.Thread(target=engine.stop)
    stopper.start()
    while True:
        try:
            engine.submit([])
        except EngineStopped:
            break
    stopping.set()
    stopper.join(SECONDS)

    assert all(isinstance(s.done.exception(SECONDS), EngineStopped) for s in samples)


def test_an_engine_that_never_started_can_be_stopped():
    engine = Engine(FakePipelines(FakePipeline()), on_device_lost=lambda error: None)
    sample = make_sample()
    engine.submit([sample])

    engine.stop()

    assert isinstance(sample.done.exception(0), EngineStopped)


def test_the_models_are_warm_when_start_returns(pipeline):
    pipelines = FakePipelines(pipeline)
    engine = Engine(pipelines, buckets=(4, 1), on_device_lost=lambda error: None)

    engine.start()
    engine.stop()

    assert pipelines.warm == [(1, 4)]


def test_a_model_that_is_not_loaded_is_refused(pipeline, make_engine):
    engine = make_engine(pipeline)

    with pytest.raises(KeyError):
        engine.submit([make_sample(), make_sample(model_id="another")])

    assert engine.pending == 0


def test_only_pending_work_without_progress_counts_as_stalled(pipeline, make_engine):
    now = [100.0]
    stalled = []
    engine = make_engine(pipeline, clock=lambda: now[0])

    def before(name, samples, rows):
        stalled.append(engine.stalled_for)
        now[0] += 7
        stalled.append(engine.stalled_for)

    now[0] += 1000
    idle = engine.stalled_for
    pipeline.before = before
    sample = make_sample(steps=1)
    engine.submit([sample])
    sample.done.result(SECONDS)

    assert idle == 0
    assert stalled == [0, 7] * 4
    assert engine.stalled_for == 0


def test_a_picture_on_its_way_is_fetched_once_the_next_step_is_launched(pipeline, make_engine):
    pipeline.develops, calls = True, []
    pipeline.before = lambda call, samples, rows: calls.append(call)
    engine = make_engine(pipeline)
    short, long = make_sample(steps=1), make_sample(steps=2)

    engine.submit([short, long])
    wait([short.done, long.done], SECONDS)

    assert calls == [
        *("begin", "begin", "predict", "advance", "advance"),
        *("predict", "advance", "finish"),  # short's, while long's last step runs
        "finish",  # with nothing more to launch
    ]
    assert engine.pending == 0


def test_a_picture_on_its_way_is_fetched_when_all_others_are_cancelled(pipeline, make_engine):
    pipeline.develops = True
    engine = make_engine(pipeline)
    short, long = make_sample(steps=1), make_sample(steps=50)
    pipeline.before = lambda call, samples, rows: call == "advance" and long.done.cancel()

    engine.submit([short, long])

    assert short.done.result(SECONDS).steps == 1


def test_pictures_on_their_way_are_given_up_with_the_device(pipeline, make_engine):
    pipeline.develops = True
    engine = make_engine(pipeline)
    short, long = make_sample(steps=1), make_sample(steps=2)

    def lose(call, samples, rows):
        if call == "finish":
            raise DeviceLost("gone")

    pipeline.before = lose
    engine.submit([short, long])

    for sample in (short, long):
        assert isinstance(sample.done.exception(SECONDS), DeviceLost)
    assert engine.pending == 0
