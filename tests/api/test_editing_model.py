"""What the door tells of a model that looks at the init image instead of starting from it."""

import pytest

from tests.api.test_img2img import URL

pytestmark = pytest.mark.anyio

OWN = "FlowMatchEulerDiscreteScheduler"
CARD = f"{{family: kontext, source: kontext, scheduler: {OWN}, limits: {{multiple: 16}}}}"


@pytest.fixture
def settings(settings):
    settings.models_file.write_text(f"models: {{demo: {CARD}}}")
    return settings


async def meta_of(client, body):
    answer = await client.post(URL, json=body)
    return answer.json()["meta"]


async def test_without_a_mask_the_whole_schedule_runs(client, request_body, attempts, redis):
    meta = await meta_of(client, request_body | {"strength": 0.2, "samples": 2})

    (job_id,) = redis.zrange("published:default", 0, 0)
    params = attempts.claim(job_id, "1", "worker:1").job.params
    assert meta["strength"] == params.strength == 1.0
    assert params.work == pytest.approx(2 * 30 * 512 * 512 / 1e6)


async def test_under_a_mask_strength_is_as_asked(client, request_body):
    body = request_body | {"strength": 0.2, "mask_image": request_body["init_image"]}

    assert (await meta_of(client, body))["strength"] == 0.2


@pytest.mark.parametrize(
    ("asked", "mask", "runs"),
    [
        (None, False, OWN),
        (OWN, False, OWN),
        ("DPM++ 2M Karras", False, OWN),
        ("UniPC Karras", False, "UniPCMultistepScheduler"),
        ("UniPC", True, OWN),
    ],
)
async def test_the_scheduler_is_known_from_the_start(client, request_body, asked, mask, runs):
    mask_image = request_body["init_image"] if mask else None
    meta = await meta_of(
        client,
        request_body | {"scheduler": asked, "mask_image": mask_image, "use_karras_sigmas": "yes"},
    )

    assert (meta["scheduler"], meta["use_karras_sigmas"]) == (runs, None)
