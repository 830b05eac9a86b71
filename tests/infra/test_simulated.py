import base64
from pathlib import Path

import httpx
import pytest
from PIL import Image

from infra.local import Stack

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


def test_a_prompt_can_ask_for_a_death_and_the_job_ends_all_the_same(stack):
    starts = stack.processes["simulated"].starts
    answer = ask(stack, "kill@2")
    assert answer["status"] == "failed"
    stack.await_ready("simulated")
    assert stack.processes["simulated"].starts == starts + 3
