"""Names of schedulers: what the public list and the web UI call them."""

import pytest

from shared.schedulers import (
    A1111,
    ALGORITHM,
    FLOW_FITS,
    KARRAS,
    SCHEDULERS,
    SDE,
    UNFIT,
    Choice,
    UnknownScheduler,
    choose,
    fitting,
    web_ui_name,
)

DEFAULT = "DDIMScheduler"
OWN = "FlowMatchEulerDiscreteScheduler"
PUBLIC_LIST = 18


def test_the_public_list_is_complete():
    assert len(SCHEDULERS | dict.fromkeys(UNFIT)) == PUBLIC_LIST


@pytest.mark.parametrize(
    ("asked", "choice"),
    [
        (None, Choice(DEFAULT)),
        ("HeunDiscreteScheduler", Choice("HeunDiscreteScheduler")),
        ("eulerdiscretescheduler", Choice("EulerDiscreteScheduler")),
        ("DPM++ 2M Karras", Choice("DPMSolverMultistepScheduler", {KARRAS: True})),
        ("dpm++  2m karras ", Choice("DPMSolverMultistepScheduler", {KARRAS: True})),
        ("DPM++ 2M SDE", Choice("DPMSolverMultistepScheduler", {ALGORITHM: SDE})),
        (
            "DPM++ 2M SDE Karras",
            Choice("DPMSolverMultistepScheduler", {ALGORITHM: SDE, KARRAS: True}),
        ),
        ("Euler a", Choice("EulerAncestralDiscreteScheduler")),
        ("Heun", Choice("HeunDiscreteScheduler")),
        ("LMS Karras", Choice("LMSDiscreteScheduler", {KARRAS: True})),
        ("DPM2 a", Choice("KDPM2AncestralDiscreteScheduler")),
        ("DDIM", Choice("DDIMScheduler")),
        ("plms", Choice("PNDMScheduler")),
        ("UniPC", Choice("UniPCMultistepScheduler")),
        ("LCM", Choice("LCMScheduler")),
    ],
)
def test_names_are_found_however_they_are_written(asked, choice):
    assert choose(asked, DEFAULT) == choice


@pytest.mark.parametrize("suffix", ["", " Karras"])
@pytest.mark.parametrize("short", A1111)
def test_a_choice_has_the_name_of_the_web_ui_that_leads_to_it(short, suffix):
    if suffix and KARRAS not in SCHEDULERS[A1111[short][0]]:
        return
    assert web_ui_name(choose(f"{short}{suffix}", DEFAULT)) == f"{short}{suffix}"


def test_a_choice_that_the_web_ui_does_not_know_keeps_its_own_name():
    assert web_ui_name(Choice(OWN)) == OWN


@pytest.mark.parametrize("name", UNFIT)
def test_the_default_stands_in_for_an_unfit_one_and_takes_its_options(name):
    assert choose(name, DEFAULT, karras=True) == Choice(DEFAULT)
    assert choose(name, "LMSDiscreteScheduler", karras=True).options == {KARRAS: True}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_options_go_only_where_they_are_taken(name):
    options = choose(name, DEFAULT, karras=True, algorithm="dpmsolver+++").options

    assert options.keys() == SCHEDULERS[name]


def test_a_field_wins_over_what_the_name_implies():
    choice = choose("DPM++ 2M SDE Karras", DEFAULT, karras=False, algorithm="dpmsolver++")

    assert choice.options == {KARRAS: False, ALGORITHM: "dpmsolver++"}


def test_no_algorithm_leaves_what_the_name_implies():
    assert choose("DPM++ 2M SDE", DEFAULT, algorithm="none").options == {ALGORITHM: SDE}


@pytest.mark.parametrize("asked", ["", "Euler b", "Euler a Karras", "DPM++ 2S a", "Karras", "os"])
def test_another_name_is_refused_with_all_that_are_not(asked):
    with pytest.raises(UnknownScheduler) as refused:
        choose(asked, DEFAULT)

    assert all(name in str(refused.value) for name in (*SCHEDULERS, *UNFIT, *A1111))


@pytest.mark.parametrize("family", FLOW_FITS)
@pytest.mark.parametrize("start", ["text", "image", "mask"])
@pytest.mark.parametrize("asked", [*SCHEDULERS, *UNFIT, *A1111, None])
def test_a_flow_matching_model_runs_its_own_or_one_that_fits_without_options(family, start, asked):
    fits = fitting(family, start)

    choice = choose(asked, OWN, fits=fits, karras=True, algorithm="dpmsolver++")

    wanted = choose(asked, OWN).name
    assert choice == Choice(wanted if wanted in fits else OWN)


def test_an_editing_model_takes_unipc_unless_there_is_a_mask():
    editing = fitting("kontext", "image")

    assert choose("UniPC", OWN, fits=editing) == Choice("UniPCMultistepScheduler")
    assert choose("UniPC", OWN, fits=fitting("kontext", "mask")) == Choice(OWN)


@pytest.mark.parametrize("family", ["sd", "sdxl"])
@pytest.mark.parametrize("start", ["text", "image", "mask"])
def test_every_scheduler_fits_a_model_that_predicts_noise(family, start):
    assert fitting(family, start) is None


def test_the_models_own_can_be_asked_for_by_name():
    assert choose("flowmatcheulerdiscretescheduler", OWN, fits=frozenset()) == Choice(OWN)
