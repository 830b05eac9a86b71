"""Every scheduler in the engine is that scheduler of diffusers alone, however it is set."""

import inspect
from concurrent.futures import wait

import diffusers
import pytest

from shared.schedulers import ALGORITHM, KARRAS, SCHEDULERS, UNFIT, Choice, choose
from tests.worker.gpu.fakes import Recorder
from tests.worker.gpu.mixes import ways_to_set
from tests.worker.gpu.plain import EXACT, demo_sample, difference, half_mask, run

pytestmark = pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning")

KARRAS_ON = [Choice(name, {KARRAS: True}) for name in SCHEDULERS if KARRAS in SCHEDULERS[name]]
SET = [choice for name in SCHEDULERS for choice in ways_to_set(name)[1:]]
SECONDS = 60


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("model", ["sd", "sd-v", "sdxl"])
def test_samples_of_every_scheduler_share_steps_and_each_equals_diffusers_alone(
    plains, ours, make_engine, name, model
):
    recorder = Recorder(ours[model])
    samples = [
        demo_sample(scheduler=name, model_id=model, steps=6, strength=0.7),
        demo_sample(scheduler=name, model_id=model, steps=3, guidance_scale=3.0, prompt="a dog"),
    ]

    make_engine(recorder).submit(samples)
    wait([sample.done for sample in samples], SECONDS)

    differences = [difference(recorder.latents[s][0], plains[model].alone(s)) for s in samples]
    assert max(differences) <= EXACT
    assert [len(together) for together, _ in recorder.forwards][:3] == [2, 2, 2]


@pytest.mark.parametrize("choice", SET, ids=str)
def test_every_way_to_set_one_equals_diffusers_alone(plain, demo, choice):
    recorder = Recorder(demo)
    sample = demo_sample(
        scheduler=choice.name, scheduler_options=choice.options, steps=6, strength=0.7
    )

    run(recorder, sample)

    assert difference(recorder.latents[sample][0], plain.alone(sample)) <= EXACT


@pytest.mark.parametrize("choice", [*map(Choice, SCHEDULERS), *KARRAS_ON], ids=str)
def test_every_scheduler_inpaints_as_diffusers_alone(plain, demo, choice):
    recorder = Recorder(demo)
    sample = demo_sample(
        scheduler=choice.name, scheduler_options=choice.options, steps=4, mask=half_mask()
    )

    run(recorder, sample)

    assert difference(recorder.latents[sample][0], plain.alone(sample)) <= EXACT


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
        plain.alone(demo_sample(scheduler=name, steps=2))


@pytest.mark.parametrize("name", UNFIT)
def test_the_models_own_scheduler_serves_for_an_unfit_one(
    plain, demo, demo_card, make_engine, name
):
    choice = choose(name, demo_card.scheduler, karras=True)
    sample = demo_sample(scheduler=choice.name, scheduler_options=choice.options)
    recorder = Recorder(demo)

    make_engine(recorder).submit([sample])
    sample.done.result(SECONDS)

    own = demo_sample(scheduler=type(plain.pipe.scheduler).__name__)
    assert choice.name == demo_card.scheduler
    assert difference(recorder.latents[sample][0], plain.alone(own)) <= EXACT
