"""A job that is cancelled while it runs leaves its neighbours alone, and the device."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

LONG = {"prompt": "a red circle", "num_inference_steps": 50, "width": 512, "height": 512}
"""More than a minute of work on a CPU, in steps of about a second."""
SHORT = {"prompt": "a blue star", "num_inference_steps": 6, "width": 64, "height": 64}

CANCELLED = "img2img_engine_samples_cancelled_total"


def test_a_cancelled_job_stops_its_steps_and_its_neighbours_finish(customer):
    http, headers = customer.http, {"Authorization": f"Bearer {customer.stack.key}"}
    hook = f"{customer.site.url}/hook"

    def make(body: dict) -> dict:
        answer = http.post("/v1/text2img", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.json()

    steps_before = customer.metric("img2img_engine_steps_total")
    doomed = make(LONG | {"seed": 1, "samples": 4, "webhook": hook, "track_id": "doomed"})
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(
            lambda: http.get(f"/v1/jobs/{doomed['id']}/events", headers=headers).text
        )
        _until(lambda: _show(customer, doomed)["progress"] and _steps(customer, doomed) > 0)
        neighbours = [make(SHORT | {"seed": seed}) for seed in range(3)]
        cancelled_before = customer.metric(CANCELLED)

        answer = http.delete(f"/v1/jobs/{doomed['id']}", headers=headers)
        events = following.result(60)

    assert answer.json()["status"] == "cancelled"
    assert [line for line in events.splitlines() if line.startswith("event:")][-1] == (
        "event: cancelled"
    )
    _until(lambda: customer.metric(CANCELLED) == cancelled_before + 4)
    _until(lambda: {_show(customer, job)["status"] for job in neighbours} == {"succeeded"})
    ((_, body),) = customer.webhooks(1)
    told = json.loads(body)
    assert (told["status"], told["message"]) == ("failed", "Cancelled by its owner")
    assert (told["id"], told["track_id"]) == (doomed["id"], "doomed")
    assert _show(customer, doomed)["images"] == []
    taken = customer.metric("img2img_engine_steps_total") - steps_before
    assert taken < LONG["num_inference_steps"], "it went on"


def _show(customer, job: dict) -> dict:
    headers = {"Authorization": f"Bearer {customer.stack.key}"}
    return customer.http.get(f"/v1/jobs/{job['id']}", headers=headers).json()


def _steps(customer, job: dict) -> int:
    return (_show(customer, job)["progress"] or {"step": 0})["step"]


def _until(condition, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.05)
