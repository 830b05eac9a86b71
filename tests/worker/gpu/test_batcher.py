"""Which samples go together."""

from collections.abc import Callable
from concurrent.futures import CancelledError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.worker.gpu.fakes import make_sample
from worker.gpu.batcher import LEAST, Batcher
from worker.gpu.samples import Batch, BatchKey, Sample

CAP = 3
SIDES = (64, 512, 1024)


def make_batcher(cap: int = CAP) -> Batcher:
    return Batcher(lambda _key: cap)


def cost(key: BatchKey, samples: int) -> int:
    return max(LEAST, samples * (1 + key.guided) * (1 + key.context) * key.height * key.width)


def run_to_end(
    batcher: Batcher,
    arrivals: dict[int, list[Sample]],
    watch: Callable[[Batch, set[BatchKey]], None] = lambda batch, waiting: None,
) -> list[tuple[Sample, ...]]:
    """Step until nothing is left, adding samples at their tick; each takes its `steps`.

    `watch` is told each batch and the keys that had samples when it was chosen.
    """
    ticks: list[tuple[Sample, ...]] = []
    present: list[Sample] = []
    while len(batcher) or any(tick >= len(ticks) for tick in arrivals):
        arrived = arrivals.pop(len(ticks), [])
        batcher.add(arrived)
        present = [s for s in [*present, *arrived] if s.step < s.steps]
        batch = batcher.next_batch()
        ticks.append(batch.samples if batch else ())
        if batch:
            watch(batch, {sample.key for sample in present})
        for sample in ticks[-1]:
            sample.step += 1
            if sample.step == sample.steps:
                batcher.remove(sample)
    return ticks


samples = st.builds(
    make_sample,
    side=st.sampled_from(SIDES),
    steps=st.integers(1, 4),
    guidance_scale=st.sampled_from((1.0, 7.5)),
    context=st.booleans(),
)
arrivals = st.dictionaries(st.integers(0, 12), st.lists(samples, min_size=1, max_size=6))


@given(arrivals)
def test_every_sample_takes_each_of_its_steps_once(arriving):
    waiting = [sample for late in arriving.values() for sample in late]

    ticks = run_to_end(make_batcher(), arriving)

    assert all(sample.step == sample.steps for sample in waiting)
    assert sum(len(tick) for tick in ticks) == sum(sample.steps for sample in waiting)
    assert all(len(set(map(id, tick))) == len(tick) for tick in ticks)


@given(arrivals)
def test_a_batch_is_of_one_key_and_never_over_the_cap(arriving):
    ticks = run_to_end(make_batcher(), arriving)

    assert all(len({sample.key for sample in tick}) <= 1 for tick in ticks)
    assert all(len(tick) <= CAP for tick in ticks)


@given(arrivals)
def test_within_a_key_the_oldest_start_first(arriving):
    order = [sample for _, late in sorted(arriving.items()) for sample in late]

    ticks = run_to_end(make_batcher(), arriving)

    started = list(dict.fromkeys(sample for tick in ticks for sample in tick))
    for key in {sample.key for sample in order}:
        assert [s for s in started if s.key == key] == [s for s in order if s.key == key]


@given(arrivals)
def test_while_a_key_waits_no_other_has_two_turns(arriving):
    turns_while_waiting: dict[BatchKey, list[BatchKey]] = {}
    last = None

    def watch(batch: Batch, present: set[BatchKey]) -> None:
        nonlocal last
        for key in present - {batch.key}:
            turns = turns_while_waiting.setdefault(key, [])
            if batch.key != last:
                turns.append(batch.key)
            assert len(set(turns)) == len(turns)
        for key in turns_while_waiting.keys() - (present - {batch.key}):
            del turns_while_waiting[key]
        last = batch.key

    run_to_end(make_batcher(), arriving, watch)


shapes = st.tuples(st.sampled_from(SIDES), st.booleans())


@given(st.lists(shapes, min_size=2, max_size=3, unique=True))
def test_keys_get_the_same_device_time_whatever_their_size_and_context(shapes):
    batcher = make_batcher()
    pairs = [
        [make_sample(side=side, context=context) for _ in range(2)] for side, context in shapes
    ]
    for pair in pairs:
        batcher.add(pair)

    spent = {pair[0].key: 0 for pair in pairs}
    for _ in range(300):
        batch = batcher.next_batch()
        spent[batch.key] += cost(batch.key, len(batch.samples))

    dearest = max(cost(key, 2) for key in spent)
    assert max(spent.values()) - min(spent.values()) <= 2 * dearest


def test_images_too_small_to_fill_a_device_take_as_many_steps_as_each_other():
    batcher = make_batcher()
    batcher.add([make_sample(side=64), make_sample(side=256)])

    sides = [batcher.next_batch().key.height for _ in range(4)]

    assert sides == [64, 256, 64, 256]


@pytest.mark.parametrize(("old", "new"), [(64, 1024), (1024, 64)])
def test_a_newcomer_of_another_size_waits_for_no_more_than_the_turn_that_is_running(old, new):
    batcher = make_batcher()
    batcher.add([make_sample(side=old)])
    batcher.next_batch()
    batcher.add([make_sample(side=new)])

    assert batcher.next_batch().key.height == new


def test_a_stream_of_new_keys_does_not_starve_an_old_one():
    batcher = make_batcher()
    old = make_sample(side=256)
    batcher.add([old])
    served = 0
    for number in range(100):
        batcher.add([make_sample(prompt="", chunks=2 + number)])
        batch = batcher.next_batch()
        served += old in batch.samples
        if old not in batch.samples:
            batcher.remove(batch.samples[0])

    assert served > 10


def test_a_sample_joins_between_the_steps_of_others():
    batcher = make_batcher()
    early, late = make_sample(), make_sample(seed=1)
    batcher.add([early])
    assert batcher.next_batch().samples == (early,)

    batcher.add([late])

    assert batcher.next_batch().samples == (early, late)


def test_cancelled_samples_are_removed_and_free_their_places():
    batcher = make_batcher(cap=1)
    gone, next_one = make_sample(), make_sample()
    batcher.add([gone, next_one])
    gone.done.cancel()

    assert batcher.remove_done() == [gone]
    assert batcher.next_batch().samples == (next_one,)
    with pytest.raises(CancelledError):
        gone.done.result()


def test_a_lower_cap_pauses_the_youngest():
    caps = [3, 1]
    batcher = Batcher(lambda _key: caps[0])
    three = [make_sample() for _ in range(3)]
    batcher.add(three)

    caps.pop(0)

    assert batcher.next_batch().samples == (three[0],)
    assert len(batcher) == 3


def test_nothing_is_left_after_everything_was_removed():
    batcher = make_batcher()
    everything = [make_sample(), make_sample(side=128)]
    batcher.add(everything)

    assert batcher.remove_all() == everything
    assert batcher.next_batch() is None
    assert len(batcher) == 0
