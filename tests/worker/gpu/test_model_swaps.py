"""A worker that swaps models all day is no larger in the evening."""

import gc
import resource
from pathlib import Path

import pytest
import torch

from shared.models import ModelCard
from tests.worker.gpu.fakes import make_sample
from tests.worker.gpu.plain import picture
from worker.gpu.engine import Engine
from worker.gpu.families import device_memory, load
from worker.gpu.families.memory import DeviceMemory
from worker.gpu.pipelines import WarmPipelines

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")
SWAPS, SETTLED = 100, 20
MARGIN = 8 * 2**20
"""Bytes by which the process may grow in the last 80 swaps: less than one of these models."""
PATIENCE = 60


@pytest.fixture
def _old_objects_uncounted():
    """The collector runs at each swap, and need not look at all that pytest and torch made."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def live_tensors() -> int:
    gc.collect()
    return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())


@pytest.mark.usefixtures("_old_objects_uncounted")
def test_a_hundred_swaps_leave_nothing_behind(demo_folder):
    cards = [ModelCard(model_id=name, family="sd", source=demo_folder) for name in ("day", "night")]
    needed = DeviceMemory("cpu").needs(cards[0])
    memory = device_memory("cpu", needed * 3 // 2)
    loads = []

    def counted(card, device):
        loads.append(card.model_id)
        return load(card, device)

    pipelines = WarmPipelines(cards, "cpu", counted, memory=memory)
    engine = Engine(pipelines, on_device_lost=lambda error: None)
    engine.start()
    sizes, tensors = [], []

    for turn in range(SWAPS):
        name = cards[(turn + 1) % 2].model_id
        sample = make_sample(model_id=name, image=picture(turn, 64), steps=1, prompt=f"{turn}")
        engine.submit([sample], timeout=PATIENCE)
        sample.done.result(PATIENCE)
        sizes.append(resident())
        tensors.append(live_tensors())
        assert memory.held(["day", "night"]) <= memory.budget
    engine.stop()

    assert len(loads) == 1 + SWAPS
    assert max(sizes[SETTLED:]) - max(sizes[:SETTLED]) < MARGIN
    assert max(tensors[SETTLED:]) <= max(tensors[:SETTLED])
