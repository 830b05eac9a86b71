"""Random mixes of everything through the real engine: each sample as if it were alone.

`MIXES_COUNT=300 MIXES_FIRST=0` runs more of them, or others; a mix is the same for the same number.
"""

import random

import pytest
import torch
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.schedulers import SCHEDULERS
from tests.worker.gpu.exactness import PAGE
from tests.worker.gpu.mixes import MODELS, Stage, judge, mix, strangers
from tests.worker.gpu.plain import OWN

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")


class Mixes(BaseSettings):
    """Which mixes are run."""

    model_config = SettingsConfigDict(env_prefix="MIXES_")

    first: int = 0
    count: int = 6


NUMBERS = range(Mixes().first, Mixes().first + Mixes().count)
BUCKETS = (2, 4, 8)


@pytest.fixture(scope="module")
def stage(ours):
    """Engines over all models, by their buckets; none: as they are by default."""
    stages = {}

    def made(*buckets):
        if buckets not in stages:
            options = {"buckets": buckets} if buckets else {}
            stages[buckets] = Stage({model: ours[model] for model in MODELS}, **options)
        return stages[buckets]

    yield made
    for each in stages.values():
        each.engine.stop()


def cancelled(victim):
    victim.done.cancel()


def failed(victim):
    raise RuntimeError("its part of the step failed")


def exploded(victim):
    victim.denoising.latents = torch.full_like(victim.denoising.latents, torch.nan)


DEATHS = (cancelled, failed, exploded)


@pytest.mark.parametrize("number", NUMBERS)
def test_every_sample_of_a_mix_equals_diffusers_alone(stage, plains, number):
    played = stage().play(mix(number), random.Random(number))

    verdicts = [judge(plains[each.sample.model_id], each) for each in played]
    assert [str(verdict) for verdict in verdicts if not verdict.is_exact] == []


@pytest.mark.parametrize("number", NUMBERS)
def test_other_neighbours_another_order_and_a_death_change_no_bit(stage, number):
    draw = random.Random(number)
    here = stage(BUCKETS[number % len(BUCKETS)])
    requests = mix(number)
    before = here.play(requests, draw)
    victim = max(range(len(requests)), key=lambda index: before[index].sample.total)
    die = DEATHS[number // len(BUCKETS) % len(DEATHS)]

    def upset(samples):
        for sample in samples:
            if sample.seed == requests[victim]["seed"] and sample.step == sample.total // 2:
                die(sample)

    others = [index for index in range(len(requests)) if index != victim]
    stay = [victim, *draw.sample(others, len(others) * 2 // 3)]
    after = here.play([requests[index] for index in stay] + strangers(draw, requests), draw, upset)

    same = [
        _same(before[index], each) for index, each in zip(stay, after[: len(stay)], strict=True)
    ]
    assert same == [False] + [True] * (len(stay) - 1)


def test_the_page_has_a_cell_for_every_scheduler_and_model():
    lines = PAGE.read_text().splitlines()

    assert f"|  | {' | '.join(MODELS)} |" in lines
    for name in (*SCHEDULERS, OWN):
        (row,) = [line for line in lines if line.startswith(f"| `{name}` |")]
        assert len(row.split(" | ")) == 1 + len(MODELS)


def _same(one, other):
    return other.latents is not None and torch.equal(one.latents, other.latents)
