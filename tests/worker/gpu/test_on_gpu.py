"""What only a CUDA device can show, with miniatures: exact in bf16, no waits, alive when full."""

import pytest
import torch

from infra.bench.gpu import exactness, memory
from infra.bench.gpu.models import ARCHITECTURES, load_ours
from infra.bench.gpu.plan import Plan
from infra.bench.gpu.syncs import FORMS, waits

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Synchronization debug mode:UserWarning"),
    pytest.mark.filterwarnings("ignore:Please use the new API settings:UserWarning"),
]

PLAN = Plan(device="cuda", tiny=True)
WITHOUT_WAITS = ("DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler")
"""They draw nothing between steps."""


@pytest.fixture(scope="module", params=ARCHITECTURES)
def found(request):
    return exactness.measure(PLAN, f"{request.param} eager").results


def test_in_bfloat16_it_is_as_near_to_float32_as_plain_diffusers(found):
    assert max(found["ratios"]) <= exactness.MOST


def test_other_neighbours_and_another_place_leave_the_bits_alone(found):
    assert found["independent"]


def test_the_same_samples_have_the_same_bits_again(found):
    assert found["deterministic"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("scheduler", WITHOUT_WAITS)
@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_no_step_waits_for_the_device(name, scheduler, form):
    assert waits(load_ours(name, PLAN), PLAN, name, scheduler, form) == []


@pytest.mark.parametrize("form", FORMS)
def test_no_step_of_flux_waits_for_the_device(form):
    own = ARCHITECTURES["flux"].scheduler

    assert waits(load_ours("flux", PLAN), PLAN, "flux", own, form) == []


def test_a_full_device_refuses_samples_and_serves_again_when_there_is_room():
    turns = memory.measure(PLAN, f"sd15 {memory.FULL}").results

    assert turns["room for one"]["done"] == memory.ALL
    assert turns["no room"]["out_of_memory"] == memory.ALL
    assert turns["room again"]["done"] == memory.ALL
