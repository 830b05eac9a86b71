"""What a runner makes of a prompt that a text model goes on with."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from shared.config import Settings
from shared.outcome import meta
from tests.ledger import Ledger
from tests.worker.gpu.benches import job_of, make_bench, run


@pytest.fixture
def ledger(redis) -> Ledger:
    return Ledger(redis, Settings())


@pytest.fixture
def bench(ledger):
    return make_bench(ledger)


def painted(bench, ledger, go_on, **params):
    """The record of a job, and the one prompt that its samples had."""
    job = job_of(prompt="a cat, sharp", seeds=(7, 8), **params)
    ledger.submit(job)
    bench.runner = replace(bench.runner, go_on=go_on)
    record = run(bench, ledger, job)
    (prompt,) = {sample.prompt for sample in bench.engine.submitted}
    return record, prompt


def test_the_models_words_are_painted_and_told(bench, ledger):
    go_on = lambda opening, seed: f"{opening}, asleep {seed}"  # noqa: E731
    record, prompt = painted(bench, ledger, go_on, opening="a cat")

    assert prompt == "a cat, asleep 7"
    assert (meta(record)["prompt"], meta(record)["degraded"]) == (prompt, [])
    for stored in bench.store.objects.values():
        text = Image.open(io.BytesIO(stored.body)).text["parameters"]
        assert text.startswith("a cat, asleep 7\n")


def broken(opening, seed):
    raise ValueError("the text model had nothing to add")


@pytest.mark.parametrize("go_on", [broken, None])
def test_without_the_models_words_the_template_is_painted_and_the_job_says_so(bench, ledger, go_on):
    record, prompt = painted(bench, ledger, go_on, opening="a cat")

    assert prompt == "a cat, sharp"
    assert (meta(record)["prompt"], meta(record)["degraded"]) == (prompt, ["prompt_template"])


def test_a_job_that_asks_for_no_words_gets_none(bench, ledger):
    record, prompt = painted(bench, ledger, broken)

    assert prompt == "a cat, sharp"
    assert meta(record)["degraded"] == []
