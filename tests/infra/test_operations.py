"""What operators do to a whole service, with jobs in flight."""

import base64
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from PIL import Image

from infra.local import Stack

WORKERS = ("simulated", "simulated-2")
KEYS = [
    {"tenant": "alice", "key": "secret-of-alice"},
    {"tenant": "operator", "key": "secret-of-operator", "scopes": ["submit", "read", "admin"]},
]
MODELS = """
safety_checker: {source: nowhere}
models:
  demo: {family: sd, source: demo, scheduler: DDIMScheduler}
"""
JOBS, STEPS = 24, 40


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    data = tmp_path_factory.mktemp("operations")
    (data / "keys.json").write_text(json.dumps(KEYS))
    (data / "models.yaml").write_text(MODELS)
    settings = {
        "IMG2IMG_API_KEYS": str(data / "keys.json"),
        "IMG2IMG_MODELS_FILE": str(data / "models.yaml"),
        "IMG2IMG_STEP_TIME": "0.01",
        "IMG2IMG_LEASE": "5",
        "IMG2IMG_DRAIN": "1",
    }
    processes = ("redis", "s3", *WORKERS, "courier", "api")
    with Stack(data / "stack", port=0, env=settings, processes=processes) as stack:
        yield stack


def picture(brightness: int) -> str:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (brightness,) * 3).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def post(stack, path, key="secret-of-alice", **fields):
    answer = httpx.post(f"{stack.url}{path}", json={"key": key} | fields, timeout=60)
    return answer.status_code, answer.json()


def operate(stack, name, **fields):
    return post(stack, f"/api/v1/enterprise/{name}", key="secret-of-operator", **fields)


def in_flight(stack):
    return post(stack, "/api/v6/processing/request_count")[1]["processing_count"]


def until(true, seconds=60):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_restart_loses_no_job_and_both_workers_come_back(stack):
    starts = {name: stack.processes[name].starts for name in WORKERS}
    body = {"prompt": "a cat", "init_image": picture(0), "width": 64, "height": 64}
    body |= {"num_inference_steps": STEPS, "strength": 1, "seed": 1, "safety_checker": "no"}

    with ThreadPoolExecutor(JOBS) as threads:
        jobs = [
            threads.submit(post, stack, "/api/v3/img2img", **body, track_id=n) for n in range(JOBS)
        ]
        until(lambda: in_flight(stack) >= JOBS / 2)
        status, answer = operate(stack, "restart_server")
        answers = [job.result()[1] for job in jobs]

    assert (status, answer["status"], answer["workers"]) == (200, "success", 2)
    assert {answer["status"] for answer in answers} == {"success"}
    # They may still be draining, and look ready.
    until(lambda: all(stack.processes[name].starts > before for name, before in starts.items()))
    stack.await_ready(*WORKERS)
    assert [stack.processes[name].starts - starts[name] for name in WORKERS] == [1, 1]
    assert [stack.processes[name].last_exit for name in WORKERS] == [0, 0]


def test_workers_load_a_model_and_forget_their_caches_when_told(stack):
    assert operate(stack, "load_model", model_id="demo")[0] == 200
    assert operate(stack, "clear_cache") == (
        200,
        {
            "status": "success",
            "message": "Cache cleared",
            "messege": "Cache cleared",
            "silent": [],
        },
    )
    assert operate(stack, "system_details")[1]["pools"]["default"]["loaded"] == ["demo"]


@pytest.mark.parametrize(("brightness", "unsafe"), [(255, True), (0, False)])
def test_an_image_is_checked_in_its_turn(stack, brightness, unsafe):
    status, answer = post(stack, "/api/v3/nsfw_image_check", init_image=picture(brightness))

    assert (status, answer["has_nsfw_concept"], answer["images"]) == (200, [unsafe], None)
