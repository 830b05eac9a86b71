"""Every scheduler in the engine is that scheduler of diffusers alone, however it is set."""

import inspect
import json
import shutil

import diffusers
import pytest

from shared.schedulers import ALGORITHM, CHOICES, KARRAS, SCHEDULERS, UNFIT, Choice
from tests.worker.gpu.fakes import Recorder
from tests.worker.gpu.plain import difference, half_mask, run
from tests.worker.gpu.reference import alone, demo_sample
from worker.gpu.families import load

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

KARRAS_ON = [Choice(name, {KARRAS: True}) for name in SCHEDULERS if KARRAS in SCHEDULERS[name]]
SET = [
    *(
        Choice(name, {KARRAS: on})
        for name in SCHEDULERS
        if KARRAS in SCHEDULERS[name]
        for on in (True, False)
    ),
    *(
        Choice(name, {ALGORITHM: kind})
        for name in SCHEDULERS
        if ALGORITHM in SCHEDULERS[name]
        for kind in ("dpmsolver++", "sde-dpmsolver++")
    ),
    *(choice for choice in CHOICES.values() if len(choice.options) > 1),
]


@pytest.fixture(scope="module")
def loaded_as(demo, demo_card, tmp_path_factory):
    """The model as it is, and the same weights said to predict velocities."""
    folder = tmp_path_factory.mktemp("v") / "demo"
    shutil.copytree(demo_card.source, folder)
    file = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text()) | {"prediction_type": "v_prediction"}
    file.write_text(json.dumps(config))
    velocities = load(demo_card.model_copy(update={"source": folder}), "cpu")
    return {"epsilon": demo, "v_prediction": velocities}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_every_scheduler_equals_diffusers_alone(plain, loaded_as, name, prediction_type):
    recorder = Recorder(loaded_as[prediction_type])
    config = {**plain[False].scheduler.config, "prediction_type": prediction_type}
    sample = demo_sample(scheduler=name, steps=6, strength=0.7, prompt="a cat")

    run(recorder, sample)

    assert sample.step == sample.total
    assert difference(recorder.latents[sample][0], alone(plain, sample, config)) <= 1e-5


@pytest.mark.parametrize("choice", SET, ids=str)
def test_every_way_to_set_one_equals_diffusers_alone(plain, demo, choice):
    recorder = Recorder(demo)
    sample = demo_sample(
        scheduler=choice.name, scheduler_options=choice.options, steps=6, strength=0.7
    )

    run(recorder, sample)

    assert difference(recorder.latents[sample][0], alone(plain, sample)) <= 1e-5


@pytest.mark.parametrize("choice", [*map(Choice, SCHEDULERS), *KARRAS_ON], ids=str)
def test_every_scheduler_inpaints_as_diffusers_alone(plain, demo, choice):
    recorder = Recorder(demo)
    sample = demo_sample(
        scheduler=choice.name, scheduler_options=choice.options, steps=4, mask=half_mask()
    )

    run(recorder, sample)

    assert difference(recorder.latents[sample][0], alone(plain, sample)) <= 1e-5


@pytest.mark.parametrize("option", [{KARRAS: True}, {ALGORITHM: "sde-dpmsolver++"}], ids=str)
def test_options_make_another_picture(demo, option):
    recorder = Recorder(demo)
    as_it_is = demo_sample(scheduler="DPMSolverMultistepScheduler")
    set_so = demo_sample(scheduler="DPMSolverMultistepScheduler", scheduler_options=option)

    for sample in (as_it_is, set_so):
        run(recorder, sample)

    assert difference(recorder.latents[set_so], recorder.latents[as_it_is]) > 1e-3


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_can_take_a_single_step(demo, name):
    assert run(demo, demo_sample(scheduler=name, steps=1)).steps == 1


@pytest.mark.parametrize("choice", SET, ids=str)
def test_every_way_to_set_one_can_take_a_single_step(demo, choice):
    sample = demo_sample(scheduler=choice.name, scheduler_options=choice.options, steps=1)

    assert run(demo, sample).steps == 1


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_table_says_what_each_class_takes(name):
    taken = inspect.signature(getattr(diffusers, name)).parameters.keys() & {KARRAS, ALGORITHM}

    # DEIS has an algorithm too, but only one.
    assert SCHEDULERS[name] == taken - ({ALGORITHM} if name.startswith("DEIS") else set())


@pytest.mark.parametrize("name", UNFIT)
def test_plain_diffusers_cannot_run_the_unfit_ones_either(plain, name):
    with pytest.raises((AttributeError, IndexError, NotImplementedError)):
        alone(plain, demo_sample(scheduler=name, steps=2))
