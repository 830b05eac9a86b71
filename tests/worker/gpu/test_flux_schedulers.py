"""Which schedulers serve Flux, and what serves where they do not."""

from dataclasses import replace

import numpy as np
import pytest

from shared.schedulers import SCHEDULERS
from tests.worker.gpu.fakes import Recorder
from tests.worker.gpu.plain import EXACT, OWN, difference, flux_sample, run
from worker.gpu.families.flow_schedules import WITH_ANY_SHIFT, WITH_DYNAMIC_SHIFT, fitting

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

CASES = [("dev", "image"), ("dev", "mask"), ("dev", "text"), ("schnell", "text")]


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(("kind", "form"), CASES)
def test_a_scheduler_serves_where_diffusers_accepts_it_and_else_the_models_own(
    plain_flux, flux, kind, form, name
):
    plain = plain_flux[kind]
    sample = flux_sample(form, model_id=kind, scheduler=name, strength=0.7, steps=4)
    try:
        expected, used = plain.alone(sample, plain.flow_form(name)), name
    except (ValueError, TypeError, AttributeError, AssertionError):
        expected, used = plain.alone(replace(sample, scheduler=OWN)), OWN
    recorder = Recorder(flux[kind])

    finished = run(recorder, sample)

    assert finished.scheduler == used
    assert (used == name) == (name in fitting(plain.config, from_noise=form == "text"))
    assert difference(recorder.latents[sample][0], expected) <= EXACT


@pytest.mark.parametrize("name", [OWN, *WITH_ANY_SHIFT, *WITH_DYNAMIC_SHIFT])
def test_every_scheduler_can_take_a_single_step(flux, name):
    assert run(flux["dev"], flux_sample("text", steps=1, scheduler=name)).steps == 1


@pytest.mark.parametrize("scheduler", [OWN, "DPMSolverMultistepScheduler"])
def test_predicting_again_changes_nothing(flux, scheduler):
    pipeline = flux["dev"]
    twice, once = (flux_sample("text", scheduler=scheduler) for _ in range(2))
    pipeline.begin(twice)
    for _ in range(3):
        pipeline.predict([twice], 1)

    while twice.step < twice.total:
        pipeline.advance(twice, pipeline.predict([twice], 1)[0])

    assert np.array_equal(pipeline.finish(twice).pixels, run(pipeline, once).pixels)
