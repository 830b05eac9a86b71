"""The files that a runner stores: their names, their formats and what is written into them."""

import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from shared.config import Settings
from tests.ledger import Ledger
from tests.worker.gpu.benches import job_of, make_bench, run


@pytest.fixture
def ledger(redis) -> Ledger:
    return Ledger(redis, Settings())


@pytest.fixture
def bench(ledger):
    return make_bench(ledger)


def stored_by(bench, ledger, job):
    """The key of the only output, and the object."""
    ledger.submit(job)
    (key,) = run(bench, ledger, job).result.keys
    return key, bench.store.objects[key]


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_a_format_has_its_name_its_type_and_its_bytes(bench, ledger, output_format):
    job = job_of(output_format=output_format)

    key, stored = stored_by(bench, ledger, job)

    assert key == f"generations/{job.file_prefix}-0.{output_format}"
    assert stored.content_type == f"image/{output_format}"
    assert Image.open(io.BytesIO(stored.body)).format == output_format.upper()


@pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
def test_every_format_can_be_had_as_base64_text(bench, ledger, output_format):
    job = job_of(base64=True, output_format=output_format)

    key, stored = stored_by(bench, ledger, job)

    assert (key, stored.content_type) == (f"generations/{job.file_prefix}-0.base64", "text/plain")
    data = base64.b64decode(stored.body, validate=True)
    assert Image.open(io.BytesIO(data)).format == output_format.upper()


def test_quality_reaches_the_file(bench, ledger):
    sizes = [
        len(stored_by(bench, ledger, job_of(output_format="jpeg", quality=quality))[1].body)
        for quality in (5, 95)
    ]

    assert sizes[0] < sizes[1]


def test_temporary_outputs_have_a_folder_of_their_own(bench, ledger):
    job = job_of(temp=True)

    assert stored_by(bench, ledger, job)[0] == f"temp/{job.file_prefix}-0.png"


def test_an_output_knows_its_job(bench, ledger):
    job = job_of()

    key, _ = stored_by(bench, ledger, job)

    assert bench.store.jobs == {key: job.id}


def test_each_file_says_how_it_was_made(bench, ledger):
    job = job_of(seeds=(5, 6))
    ledger.submit(job)

    keys = run(bench, ledger, job).result.keys

    texts = [Image.open(io.BytesIO(bench.store.objects[k].body)).text["parameters"] for k in keys]
    assert all(text.startswith("a red circle\nSteps: 8, Sampler: DDIM, ") for text in texts)
    assert ["Seed: 5, Size: 64x64" in texts[0], "Seed: 6, Size: 64x64" in texts[1]] == [True, True]


def test_an_operator_can_keep_that_out(bench, ledger):
    bench.runner = replace(bench.runner, embed_parameters=False)

    _, stored = stored_by(bench, ledger, job_of())

    assert Image.open(io.BytesIO(stored.body)).info == {}
