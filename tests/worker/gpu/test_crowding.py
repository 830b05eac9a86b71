"""What happens when the device has no room, because other samples hold it."""

from concurrent.futures import wait

import pytest

from shared.errors import OutOfMemory
from tests.worker.gpu.fakes import FakePipeline, make_sample
from worker.gpu.families import DeviceMemoryFull

SECONDS = 10


class Crowded:
    """Room for so many begun samples; a call of one kind needs the room of all."""

    def __init__(self, pipeline, room, *, alone=""):
        self.inside, self.room, self.alone = set(), room, alone
        self.most = 0
        pipeline.before = self.before

    def before(self, call, samples, rows):
        self.inside = {sample for sample in self.inside if sample.denoising is not None}
        if call == "begin" and len(self.inside) >= self.room:
            raise DeviceMemoryFull
        if call == self.alone and len(self.inside) > 1:
            raise DeviceMemoryFull
        if call == "begin":
            self.inside.update(samples)
        self.most = max(self.most, len(self.inside))


@pytest.fixture
def pipeline() -> FakePipeline:
    return FakePipeline()


@pytest.mark.parametrize("sides", [(64,), (64, 72, 80)])
def test_who_finds_no_room_begins_when_the_others_are_done(pipeline, make_engine, sides):
    crowd = Crowded(pipeline, room=4)
    samples = [make_sample(side=sides[n % len(sides)], steps=2 + n) for n in range(12)]
    engine = make_engine(pipeline)

    engine.submit(samples)
    pictures = [sample.done.result(SECONDS) for sample in samples]

    assert [picture.steps for picture in pictures] == [2 + n for n in range(12)]
    assert crowd.most == 4
    assert engine.pending == 0


@pytest.mark.parametrize("develops", [True, False])
@pytest.mark.parametrize("call", ["predict", "finish"])
def test_who_runs_out_of_room_later_begins_again(pipeline, make_engine, call, develops):
    pipeline.develops = develops
    Crowded(pipeline, room=9, alone=call)
    samples = [make_sample(side=side, steps=3) for side in (64, 72, 80)]
    engine = make_engine(pipeline)

    engine.submit(samples)

    assert [sample.done.result(SECONDS).steps for sample in samples] == [3, 3, 3]
    assert engine.pending == 0


def test_who_finds_no_room_on_an_empty_device_fails(pipeline, make_engine):
    Crowded(pipeline, room=0)
    samples = [make_sample(), make_sample(side=72)]
    engine = make_engine(pipeline)

    engine.submit(samples)
    wait([sample.done for sample in samples], SECONDS)

    assert all(isinstance(sample.done.exception(), OutOfMemory) for sample in samples)


def test_nobody_waits_for_a_sample_that_was_cancelled_while_it_waited_for_room(
    pipeline, make_engine
):
    Crowded(pipeline, room=1)
    first, second, third = (make_sample(steps=4) for _ in range(3))
    room = pipeline.before

    def before(call, samples, rows):
        if call == "advance" and first.step == 2:
            second.done.cancel()
        room(call, samples, rows)

    pipeline.before = before
    engine = make_engine(pipeline)

    engine.submit([first, second, third])

    assert [sample.done.result(SECONDS).steps for sample in (first, third)] == [4, 4]
    assert second.done.cancelled()
