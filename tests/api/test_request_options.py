"""Fields that say how a picture is sampled, and what meta says of them."""

from dataclasses import replace
from typing import get_args

import pytest

from shared.jobs import Cover
from shared.schedulers import A1111, SCHEDULERS, UNFIT
from tests.api.test_img2img import URL

pytestmark = pytest.mark.anyio

DEFAULT = "DDIMScheduler"


async def meta_of(client, request_body, **fields):
    answer = await client.post(URL, json=request_body | fields)
    return answer.json()["meta"]


@pytest.mark.parametrize("name", SCHEDULERS)
async def test_a_public_name_is_the_one_that_runs(client, request_body, name):
    assert (await meta_of(client, request_body, scheduler=name))["scheduler"] == name


@pytest.mark.parametrize("name", UNFIT)
async def test_meta_says_what_runs_for_a_name_that_does_not_fit(client, request_body, name):
    assert (await meta_of(client, request_body, scheduler=name))["scheduler"] == DEFAULT


@pytest.mark.parametrize(("short", "name"), [(short, name) for short, (name, _) in A1111.items()])
async def test_names_of_the_web_ui_are_taken(client, request_body, short, name):
    assert (await meta_of(client, request_body, scheduler=short.lower()))["scheduler"] == name


@pytest.mark.parametrize(
    ("fields", "scheduler", "karras", "algorithm"),
    [
        ({}, DEFAULT, None, None),
        ({"use_karras_sigmas": "yes"}, DEFAULT, None, None),
        ({"scheduler": "Heun", "use_karras_sigmas": "no"}, "HeunDiscreteScheduler", "no", None),
        ({"scheduler": "DPM++ 2M Karras"}, "DPMSolverMultistepScheduler", "yes", None),
        (
            {
                "scheduler": "DPMSolverMultistepScheduler",
                "use_karras_sigmas": "yes",
                "algorithm_type": "dpmsolver+++",
            },
            "DPMSolverMultistepScheduler",
            "yes",
            "sde-dpmsolver++",
        ),
        (
            {"scheduler": "DPMSolverMultistepScheduler", "algorithm_type": "none"},
            "DPMSolverMultistepScheduler",
            None,
            None,
        ),
    ],
)
async def test_meta_shows_how_the_scheduler_is_set(
    client, request_body, fields, scheduler, karras, algorithm
):
    meta = await meta_of(client, request_body, **fields)

    assert meta["scheduler"] == scheduler
    assert (meta["use_karras_sigmas"], meta["algorithm_type"]) == (karras, algorithm)


async def test_a_worker_is_told_the_class_and_its_options(client, request_body, attempts, redis):
    await client.post(URL, json=request_body | {"scheduler": "DPM++ 3M SDE", "clip_skip": "2"})

    (job_id,) = redis.zrange("published:default", 0, 0)
    params = attempts.claim(job_id, "1", "worker:1").job.params

    assert params.scheduler == "DPMSolverMultistepScheduler"
    assert params.scheduler_options == {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}
    assert params.clip_skip == 2


async def test_an_unknown_scheduler_is_answered_with_the_known_ones(client, request_body):
    answer = await client.post(URL, json=request_body | {"scheduler": "Euler b"})

    (text,) = answer.json()["message"]["scheduler"]
    assert answer.status_code == 400
    assert all(name in text for name in (*SCHEDULERS, *UNFIT, *A1111))


@pytest.mark.parametrize(("given", "shown"), [(None, None), ("2", 2), (8, 8)])
async def test_clip_skip_is_shown(client, request_body, given, shown):
    assert (await meta_of(client, request_body, clip_skip=given))["clip_skip"] == shown


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, (True, "sensitive_content_text")),
        ({"safety_checker": "no"}, (False, "sensitive_content_text")),
        ({"safety_checker": "true", "safety_checker_type": "blur"}, (True, "blur")),
        ({"safety_checker_type": "pixelate"}, (True, "pixelate")),
        ({"safety_checker_type": "blank"}, (True, "black")),
        ({"safety_checker_type": ""}, (True, "sensitive_content_text")),
    ],
)
async def test_a_worker_is_told_whether_to_check_and_what_to_show_instead(
    client, request_body, attempts, redis, fields, told
):
    del request_body["safety_checker"]
    answer = await client.post(URL, json=request_body | fields)

    (job_id,) = redis.zrange("published:default", 0, 0)
    params = attempts.claim(job_id, "1", "worker:1").job.params

    assert (params.safety_checker, params.safety_checker_type) == told
    # Nothing has been checked yet.
    assert answer.json()["meta"]["safety_checker"] == ("none" if told[0] else "no")


async def test_an_unknown_safety_checker_type_is_answered_with_the_known_ones(client, request_body):
    answer = await client.post(URL, json=request_body | {"safety_checker_type": "mosaic"})

    (text,) = answer.json()["message"]["safety_checker_type"]
    assert answer.status_code == 400
    assert "mosaic" in text
    assert all(f"'{cover}'" in text for cover in get_args(Cover))


@pytest.mark.parametrize("given", ["strict", "relaxed"])
async def test_determinism_is_shown_and_told_to_the_worker(
    client, request_body, attempts, redis, given
):
    meta = await meta_of(client, request_body, determinism=given)

    (job_id,) = redis.zrange("published:default", 0, 0)
    assert meta["determinism"] == given
    assert attempts.claim(job_id, "1", "worker:1").job.params.determinism == given


async def test_an_unknown_determinism_is_answered_with_the_known_ones(client, request_body):
    answer = await client.post(URL, json=request_body | {"determinism": "loose"})

    (text,) = answer.json()["message"]["determinism"]
    assert answer.status_code == 400
    assert text == "The determinism must be 'relaxed' or 'strict', got 'loose'."


@pytest.mark.parametrize(("given", "shown"), [(None, "strict"), ("relaxed", "relaxed")])
async def test_a_deployment_can_be_strict_where_a_request_does_not_say(
    client, app, request_body, given, shown
):
    door = app.state.door
    settings = door.settings.model_copy(update={"determinism": "strict"})
    app.state.door = replace(door, settings=settings)

    assert (await meta_of(client, request_body, determinism=given))["determinism"] == shown
