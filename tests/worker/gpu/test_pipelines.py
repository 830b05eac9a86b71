"""Which models stay loaded, and what warm means."""

import subprocess
import sys

import pytest

from shared.errors import NoPicture
from tests.worker.gpu.fakes import CARD, FakePipeline
from worker.gpu.families import pick_device
from worker.gpu.pipelines import WarmPipelines

ANOTHER = CARD.model_copy(update={"model_id": "another", "max_batch": 3})


class Loader:
    def __init__(self) -> None:
        self.loaded: list[tuple[str, str]] = []
        self.sides: set[int] = set()

    def __call__(self, card, device):
        self.loaded.append((card.model_id, device))
        pipeline = FakePipeline(card)
        pipeline.before = lambda name, samples, rows: self.sides.add(samples[0].key.height)
        return pipeline


def test_every_model_is_loaded_once_at_start():
    load = Loader()

    pipelines = WarmPipelines([CARD, ANOTHER], "cuda", load)

    assert pipelines.get("fake").card == CARD
    assert pipelines.get("another").card == ANOTHER
    assert load.loaded == [("fake", "cuda"), ("another", "cuda")]


def test_a_model_that_was_not_listed_is_a_key_error():
    with pytest.raises(KeyError):
        WarmPipelines([CARD], "cpu", Loader()).get("another")


def test_on_an_accelerator_every_bucket_runs_at_the_default_size():
    load = Loader()
    pipelines = WarmPipelines([ANOTHER], "cuda", load)

    pipelines.warm_up((1, 2, 4, 8))

    guided_then_not = [1, 2, 3] * 2
    assert [rows for _, rows in pipelines.get("another").forwards] == guided_then_not
    assert load.sides == {ANOTHER.limits.default_side}


def test_on_a_cpu_one_small_pass_is_enough():
    load = Loader()
    pipelines = WarmPipelines([CARD], "cpu", load)

    pipelines.warm_up((1, 2, 4, 8))

    assert [rows for _, rows in pipelines.get("fake").forwards] == [1, 1]
    assert load.sides == {CARD.limits.min_side}


def test_a_model_whose_blank_picture_is_none_is_warm_all_the_same():
    def overflow(name, samples, rows):
        calls.append(name)
        if name == "finish":
            raise NoPicture("no numbers")

    calls = []
    pipelines = WarmPipelines([CARD], "cpu", Loader())
    pipelines.get("fake").before = overflow

    pipelines.warm_up((1,))

    assert calls.count("finish") == 2


def test_a_device_is_found():
    assert pick_device() in ("cpu", "cuda")


def test_importing_the_engine_does_not_import_torch():
    program = (
        "import worker.gpu.engine, worker.gpu.pipelines, sys; sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
