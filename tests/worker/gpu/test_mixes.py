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
    here = stage(BUCKETS[number % len(BUCKETS)])

    assert all(_unmoved(here, mix(number), number))


@pytest.mark.parametrize("number", NUMBERS[: len(NUMBERS) // 2])
def test_nor_do_they_change_a_bit_of_strict_requests_whatever_the_buckets(stage, number):
    requests = [each | {"strict": n % 2 == 0} for n, each in enumerate(mix(number))]

    assert all(_unmoved(stage(), requests, number, judged=lambda each: each["strict"]))


def test_the_page_has_a_cell_for_every_scheduler_and_model():
    lines = PAGE.read_text().splitlines()

    assert f"|  | {' | '.join(MODELS)} |" in lines
    for name in (*SCHEDULERS, OWN):
        (row,) = [line for line in lines if line.startswith(f"| `{name}` |")]
        assert len(row.split(" | ")) == 1 + len(MODELS)


def _same(one, other):
    return other.latents is not None and torch.equal(one.latents, other.latents)


def _unmoved(here, requests, number, judged=lambda _: True):
    """Run them, then most of them among strangers while one dies: who of the judged is the same."""
    draw = random.Random(number)
    before = here.play(requests, draw)
    victim = max(range(len(requests)), key=lambda index: before[index].sample.total)
    die = DEATHS[number // len(BUCKETS) % len(DEATHS)]

    def upset(samples):
        for sample in samples:
            if sample.seed == requests[victim]["seed"] and sample.step == sample.total // 2:
                die(sample)

    others = [index for index in range(len(requests)) if index != victim]
    stay = draw.sample(others, len(others) * 2 // 3)
    again = [requests[index] for index in (victim, *stay)] + strangers(draw, requests)
    dead, *after = here.play(again, draw, upset)
    assert not _same(before[victim], dead)
    same = [
        _same(before[i], each) for i, each in zip(stay, after, strict=False) if judged(requests[i])
    ]
    assert same
    return same
