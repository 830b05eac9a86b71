"""How far ahead of its device a thread may run; the device's events are written down."""

import pytest
import torch

from tests.worker.gpu.fakes import FakePipeline, make_sample
from worker.gpu.families import DeviceLost
from worker.gpu.families.device import Guarded, Pace


class Device:
    """What is launched on it, and what it is waited for."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.events = 0
        self.lost = False

    def event(self, *, blocking: bool) -> "Event":
        assert blocking
        self.events += 1
        return Event(self, self.events)


class Event:
    def __init__(self, device: Device, number: int) -> None:
        self.device, self.number = device, number

    def record(self) -> None:
        self.device.log.append(f"mark {self.number}")

    def synchronize(self) -> None:
        if self.device.lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        self.device.log.append(f"wait for {self.number}")


@pytest.fixture
def device(monkeypatch) -> Device:
    device = Device()
    monkeypatch.setattr(torch.cuda, "Event", device.event)
    return device


@pytest.fixture
def guarded(device) -> Guarded:
    pipeline = FakePipeline()
    pipeline.before = lambda call, samples, rows: device.log.append(call)
    return Guarded(pipeline, Pace())


def test_a_step_is_launched_while_the_one_before_runs_but_not_earlier(device, guarded):
    for _ in range(3):
        guarded.predict([make_sample()], 1)
    assert device.log == [
        *("mark 1", "predict"),
        *("mark 2", "wait for 1", "predict"),
        *("mark 3", "wait for 2", "predict"),
    ]


def test_an_error_that_comes_late_is_still_the_device_being_lost(device, guarded):
    guarded.predict([make_sample()], 1)
    device.lost = True
    with pytest.raises(DeviceLost):
        guarded.predict([make_sample()], 1)
