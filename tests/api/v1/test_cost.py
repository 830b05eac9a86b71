"""What a job costs a device, as a dry run says it and as the eta counts it."""

import pytest

pytestmark = pytest.mark.anyio

CARD = "{family: sd, source: demo, scheduler: DDIMScheduler, limits: {default_side: 128}}"


@pytest.fixture
def settings(settings):
    settings.models_file.write_text(f"models: {{demo: {CARD}}}")
    return settings


async def cost(client, path, **fields):
    asked = {"prompt": "a cat", "num_inference_steps": 20, "strength": 0.5, "dry_run": True}
    return (await client.post(path, json=asked | fields)).json()["cost"]["megapixel_steps"]


@pytest.mark.parametrize(
    ("sides", "pixels"),
    [
        ({}, 128 * 128),
        ({"width": 256}, 256 * 256),
        ({"height": 256}, 256 * 256),
        ({"width": 64, "height": 256}, 64 * 256),
    ],
)
async def test_a_text_takes_every_step_and_without_a_size_the_models_own(alice, sides, pixels):
    assert await cost(alice, "/text2img", **sides) == round(20 * pixels / 1e6, 3)


async def test_an_image_takes_its_share_of_the_steps(alice, body):
    sides = {"width": 256, "height": 256}

    assert await cost(alice, "/img2img", **body | sides) == round(10 * 256 * 256 / 1e6, 3)
