"""The text that the web UI would read: see its own files for the form."""

from shared.jobs import LoraUse, Params
from tests.jobs import make_job
from worker.gpu.infotext import infotext


def text_of(scheduler: str = "DPMSolverMultistepScheduler", **changes: object) -> str:
    params: Params = make_job().params.model_copy(
        update={"scheduler": "DPMSolverMultistepScheduler", **changes}
    )
    return infotext(params, seed=7, scheduler=scheduler, width=512, height=768)


def test_it_is_the_prompt_what_to_avoid_and_a_line_of_settings():
    assert text_of(
        prompt="a (red:1.2) circle",
        negative_prompt="blur",
        scheduler_options={"use_karras_sigmas": True},
        vae="mse",
        clip_skip=1,
    ) == (
        "a (red:1.2) circle\n"
        "Negative prompt: blur\n"
        "Steps: 8, Sampler: DPM++ 2M Karras, CFG scale: 7.5, Seed: 7, Size: 512x768, Model: demo, "
        "VAE: mse, Denoising strength: 0.5, Clip skip: 2"
    )


def test_what_was_not_asked_for_is_not_there():
    assert text_of(init_image=None) == (
        "a red circle\n"
        "Steps: 8, Sampler: DPM++ 2M, CFG scale: 7.5, Seed: 7, Size: 512x768, Model: demo"
    )


def test_loras_stand_behind_the_prompt():
    loras = (LoraUse(name="ink", strength=0.8), LoraUse(name="moss"))

    assert text_of(loras=loras).startswith("a red circle <lora:ink:0.8> <lora:moss:1>\nSteps: ")


def test_options_say_nothing_of_another_scheduler_that_ran():
    text = text_of("FlowMatchEulerDiscreteScheduler", scheduler_options={"use_karras_sigmas": True})

    assert "Sampler: FlowMatchEulerDiscreteScheduler, " in text


def test_a_name_that_would_end_its_field_is_quoted():
    assert 'Model: "a, b: c", ' in text_of(model_id="a, b: c")


def test_nothing_tells_where_its_images_came_from():
    text = text_of(init_image="https://user.example/cat.png", mask_image="inputs/0123")

    assert "example" not in text
    assert "inputs" not in text
