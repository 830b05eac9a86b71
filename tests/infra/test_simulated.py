import base64
import json
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from infra.local import Stack
from infra.simulated.device import CountingModel
from tests.processes import until
from tests.worker.gpu.fakes import CARD, make_sample

PHOTO = Path("infra/demo/astronaut.jpg")


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    processes = ("redis", "s3", "simulated", "courier", "api")
    settings = {"IMG2IMG_STEP_TIME": "0.001", "IMG2IMG_RETRY_DELAY": "0", "IMG2IMG_LEASE": "2"}
    settings |= {"IMG2IMG_SYNC_WAIT": "50"}
    data = tmp_path_factory.mktemp("simulated")
    with Stack(data, port=0, env=settings, processes=processes) as stack:
        yield stack


def ask(stack: Stack, prompt: str) -> dict:
    image = base64.b64encode(PHOTO.read_bytes()).decode()
    body = {"key": stack.key, "prompt": prompt, "init_image": image, "width": 64, "height": 64}
    path = f"{stack.url}/api/v3/img2img"
    return httpx.post(path, json=body | {"seed": 0x112233}, timeout=60).json()


def test_the_service_runs_on_a_device_that_only_takes_time(stack):
    answer = ask(stack, "a cat")
    assert answer["status"] == "success"
    [link] = answer["output"]
    picture = Image.open(httpx.get(link, timeout=10))
    assert picture.getpixel((0, 0)) == (0x11, 0x22, 0x33)


def test_a_job_that_ends_well_is_one_line_of_its_workers_log(stack):
    job_id = str(ask(stack, "a dog")["id"])
    log = stack.processes["simulated"].log

    def said() -> list[str]:
        lines = log.read_text().splitlines()
        return [json.loads(line)["message"] for line in lines if job_id in line]

    until(said)
    assert said() == ["job finished"]


def test_a_prompt_can_ask_for_a_death_and_the_job_ends_all_the_same(stack):
    starts = stack.processes["simulated"].starts
    answer = ask(stack, "kill@2")
    assert answer["status"] == "failed"
    stack.await_ready("simulated")
    assert stack.processes["simulated"].starts == starts + 3


def test_a_prompt_can_ask_for_a_picture_that_is_a_photo():
    photo = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    sample = make_sample(prompt="photo@0, a cat", image=photo)
    model = CountingModel(CARD)
    model.begin(sample)
    sample.denoising = sample.total

    assert np.array_equal(model.finish(sample).pixels, photo)


@pytest.mark.parametrize("start", ["image", "text"])
def test_a_text_runs_every_step_whatever_the_strength(start):
    changes = {} if start == "image" else {"image": None}
    sample = make_sample(steps=10, strength=0.5, **changes)

    CountingModel(CARD).begin(sample)

    assert sample.total == {"image": 5, "text": 10}[start]


@pytest.fixture
def crowded(tmp_path):
    """A service whose one worker has room for one of its two models, and takes long to load it."""
    (tmp_path / "models.yaml").write_text(
        "models: {demo: {family: sd, source: demo}, other: {family: sd, source: demo}}"
    )
    settings = {
        "IMG2IMG_MODELS_FILE": str(tmp_path / "models.yaml"),
        "IMG2IMG_VRAM_BUDGET": "1",
        "IMG2IMG_LOAD_TIME": "3",
        "IMG2IMG_STEP_TIME": "0.001",
    }
    processes = ("redis", "s3", "simulated", "api")
    with Stack(tmp_path / "stack", port=0, env=settings, processes=processes) as stack:
        yield stack


def test_a_job_says_that_it_waits_for_its_model_to_be_loaded(crowded):
    headers = {"Authorization": f"Bearer {crowded.key}"}
    with httpx.Client(base_url=crowded.url, headers=headers, timeout=30) as client:
        fields = {"prompt": "a cat", "model_id": "other", "width": 64, "height": 64}
        events = client.post("/v1/text2img", json=fields).json()["urls"]["events"]
        lines = client.get(events).text.splitlines()

    told = dict(zip(lines[::3], lines[1::3], strict=True))
    loading = told["event: loading"].removeprefix("data: ")
    assert json.loads(loading)["reason"] == "loading_model"
    assert [*told][-1] == "event: succeeded"
