"""Where the time of an attempt goes."""

import itertools
import logging
import time

import pytest
from prometheus_client import REGISTRY

from shared.config import Settings
from tests.ledger import Ledger
from tests.worker.gpu.benches import job_of, make_bench, run
from tests.worker.gpu.fakes import CARD, FakePipeline, make_sample
from worker.gpu.engine import Engine
from worker.gpu.pipelines import WarmPipelines
from worker.gpu.stages import Stages


def test_each_stage_begins_where_the_last_one_ended():
    began, stages = time.monotonic(), Stages()

    stages.end("wait", began + 10)
    stages.end("steps", began + 12)
    stages.end("wait", began + 15)

    assert stages.seconds == {"wait": pytest.approx(13, abs=0.1), "steps": pytest.approx(2)}


def test_a_stage_that_ended_before_the_thread_came_to_it_takes_no_time():
    stages = Stages()
    stages.end("develop")

    stages.end("steps", at=0.0)

    assert stages.seconds["steps"] == 0


def test_a_timed_call_is_a_stage_and_answers_as_before():
    stages = Stages()

    assert stages.timed("fetch", str)(7) == "7"
    assert list(stages.seconds) == ["fetch"]


def test_a_job_that_succeeds_is_counted_and_logged_by_stage(redis, caplog):
    ledger = Ledger(redis, Settings())
    job, bench, before = job_of(), make_bench(ledger), uploads()
    ledger.submit(job)

    with caplog.at_level(logging.INFO, "worker.gpu.runner"):
        run(bench, ledger, job)

    [line] = [record for record in caplog.records if record.getMessage() == "job finished"]
    assert " ".join(line.milliseconds) == (
        "claim fetch decode submit wait steps develop encode upload finish"
    )
    assert uploads() == before + 1


def test_the_engine_notes_when_a_sample_is_admitted_and_when_its_last_step_is_taken():
    sample = make_sample()
    pipelines = WarmPipelines([CARD], "cpu", lambda card, _: FakePipeline(card))
    engine = Engine(pipelines, on_device_lost=print, clock=itertools.count(1.0).__next__)
    engine.start()
    try:
        engine.submit([sample])
        sample.done.result(30)
    finally:
        engine.stop()

    assert 0 < sample.began < sample.painted


def uploads() -> float:
    name, labels = "img2img_stage_seconds_count", {"stage": "upload"}
    return REGISTRY.get_sample_value(name, labels) or 0.0
