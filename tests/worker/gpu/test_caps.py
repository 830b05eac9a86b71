"""How many samples may share a step, and what it is padded to."""

import pytest

from tests.worker.gpu.fakes import make_sample
from worker.gpu.caps import FULL_STEPS, Caps

KEY = make_sample().key
STRICT = make_sample(strict=True).key


def make_caps(most=8, buckets=(1, 2, 4, 8), strict_bucket=4) -> Caps:
    return Caps(lambda _key: most, buckets=buckets, strict_bucket=strict_bucket)


def take(caps, steps, rows):
    for _ in range(steps):
        caps.fitted(KEY, rows)


@pytest.mark.parametrize(("samples", "rows"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 6), (6, 6)])
def test_a_step_is_padded_to_the_next_bucket_but_never_over_the_cards_limit(samples, rows):
    assert make_caps(most=6).rows(KEY, samples) == rows


def test_what_did_not_fit_halves_the_cap_of_that_shape_alone():
    caps = make_caps()

    caps.lower(KEY, 8)

    assert (caps.samples(KEY), caps.rows(KEY, 3)) == (4, 4)
    assert caps.samples(make_sample(side=128).key) == 8


def test_a_lowered_cap_rises_by_a_bucket_after_enough_full_steps_up_to_the_usual():
    caps = make_caps()
    caps.lower(KEY, 8)
    caps.lower(KEY, 4)

    take(caps, FULL_STEPS - 1, 2)
    before = caps.samples(KEY)
    take(caps, 1, 2)
    between = caps.samples(KEY)
    take(caps, FULL_STEPS, 4)

    assert (before, between, caps.samples(KEY)) == (2, 4, 8)


def test_steps_below_the_cap_show_nothing_of_the_memory_above_it():
    caps = make_caps()
    caps.lower(KEY, 8)

    take(caps, 2 * FULL_STEPS, 2)

    assert caps.samples(KEY) == 4


def test_a_raise_that_does_not_fit_starts_the_count_again():
    caps = make_caps()
    caps.lower(KEY, 8)
    take(caps, FULL_STEPS, 4)
    caps.lower(KEY, 8)

    take(caps, FULL_STEPS - 1, 4)
    before = caps.samples(KEY)
    take(caps, 1, 4)

    assert (before, caps.samples(KEY)) == (4, 8)


def test_a_cap_that_is_no_bucket_rises_to_the_next_one():
    caps = make_caps(most=6)
    caps.lower(KEY, 6)

    take(caps, FULL_STEPS, 3)
    between = caps.samples(KEY)
    take(caps, FULL_STEPS, 4)

    assert (between, caps.samples(KEY)) == (4, 6)


@pytest.mark.parametrize("samples", [1, 3, 4])
def test_strict_samples_have_one_bucket_however_many_there_are(samples):
    caps = make_caps()

    assert (caps.samples(STRICT), caps.rows(STRICT, samples)) == (4, 4)
    assert not caps.can_lower(STRICT, 4)


def test_the_strict_bucket_keeps_to_the_cards_limit():
    assert make_caps(most=2).rows(STRICT, 1) == 2


def test_the_memory_that_others_lack_is_nothing_to_strict_samples():
    caps = make_caps()

    caps.lower(KEY, 8)
    caps.lower(KEY, 4)

    assert caps.rows(STRICT, 1) == 4
