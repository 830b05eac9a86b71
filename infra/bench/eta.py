"""Whether an eta holds: the whole service on a device that only takes time, under mixed jobs."""

import random
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import mean, median
from typing import Any

import httpx

from infra.bench.arrivals import paced, poisson_times
from infra.bench.report import Effort, Finding, Row, Watch
from infra.local import Stack

HELD, FACTOR = 0.95, 3.0
"""The share of jobs that must be done by their eta, and how far the median eta may be off."""
DEVICE = {"IMG2IMG_STEP_TIME": "0.006", "IMG2IMG_FULL_AT": "2", "IMG2IMG_ROW_SIDE": "512"}
SIDES = (256, 512, 768)
TENANTS = ("alice", "bob", "carol")
PATIENCE = 300
"""Seconds for any one job."""
BURST = 50
OVERLOAD = 1.3
"""Arrivals of the stream, relative to what the bursts showed the service to get done."""

Promise = tuple[float, float]
"""The eta of the first answer, and the seconds from it to the job's end."""


def measure(effort: Effort, watch: Watch) -> Finding:
    """An idle queue, bursts into a queue that never empties, and a stream that is too fast."""
    results: dict[str, Any] = {}
    for done, workers in enumerate((1, 2)):
        watch(done / 2, f"{workers} workers")
        names = ("simulated", "simulated-2")[:workers]
        keys = ",".join(f"{tenant}=key-of-{tenant}" for tenant in TENANTS)
        settings = DEVICE | {"IMG2IMG_API_KEYS": keys}
        with (
            tempfile.TemporaryDirectory() as folder,
            Stack(folder, port=0, env=settings, processes=("redis", "s3", *names, "courier", "api"))
            as stack,
            httpx.Client(base_url=stack.url, timeout=30) as client,
            ThreadPoolExecutor(4 * BURST) as callers,
        ):  # fmt: skip
            results[str(workers)] = _measure(client, callers, effort.eta)
    return Finding(results, [row for found in results.items() for row in _rows(*found)])


def _measure(client: httpx.Client, callers: ThreadPoolExecutor, count: int) -> dict[str, Any]:
    draw = random.Random(1)

    def play(times: Sequence[float]) -> list[Promise]:
        return _play(client, callers, times, [_request(draw) for _ in times])

    began = time.monotonic()
    first = count // 2
    play([0.0] * first)  # not counted: the service has to see a queue once
    rate = first / (time.monotonic() - began)
    burst = min(BURST, count // 4)
    every = 0.7 * burst / rate
    load = [0.0] * burst
    bursts = [number // burst * every for number in range(count)]
    stream = poisson_times(OVERLOAD * rate, count, seed=2)
    return {
        "jobs_per_second": rate,
        "bursts": play([*load, *bursts])[burst:],
        "stream": play([*load, *stream])[burst:],
        "idle": [play([0.0])[0] for _ in range(count // 20 or 1)],
    }


def _request(draw: random.Random) -> dict[str, Any]:
    side = draw.choice(SIDES)
    return {
        "key": f"key-of-{draw.choice(TENANTS)}",
        "prompt": "a cat",
        "width": side,
        "height": side,
        "samples": draw.choice((1, 1, 2, 4)),
        "num_inference_steps": draw.choice((10, 20, 30, 50)),
        "guidance_scale": 5,
    }


def _play(
    client: httpx.Client,
    callers: ThreadPoolExecutor,
    times: Sequence[float],
    bodies: Sequence[dict[str, Any]],
) -> list[Promise]:
    """Send each request at its time, in seconds from now, and follow its job to the end."""
    follow: list[Any] = []
    for body, _ in zip(bodies, paced(times), strict=True):
        answer = client.post("/api/v3/text2img", json=body, headers={"Prefer": "respond-async"})
        said = answer.json()
        if said["status"] != "processing":
            raise RuntimeError(f"expected a job that waits, got {said}")
        follow.append(callers.submit(_until_over, client, body["key"], said, time.monotonic()))
    return [following.result() for following in follow]


def _until_over(client: httpx.Client, key: str, said: dict[str, Any], asked: float) -> Promise:
    """Ask again and again, ever more slowly: no later than a twentieth of the time."""
    while (passed := time.monotonic() - asked) < PATIENCE:
        answer = client.post(f"/api/v3/fetch/{said['id']}", json={"key": key}).json()
        if answer["status"] == "success":
            return said["eta"], passed
        if answer["status"] != "processing":
            raise RuntimeError(f"expected a result, got {answer}")
        time.sleep(max(0.1, passed / 20))
    raise TimeoutError(f"job {said['id']} is not done after {PATIENCE} s")


def _rows(workers: str, found: dict[str, Any]) -> list[Row]:
    return [
        row
        for kind in ("bursts", "stream", "idle")
        for row in _of(
            f"eta, {kind}, {workers} simulated worker(s)", found[kind], loaded=kind != "idle"
        )
    ]


def _of(what: str, promises: Sequence[Promise], *, loaded: bool) -> list[Row]:
    held = mean(took <= eta for eta, took in promises)
    factor = median(eta / took for eta, took in promises)
    asked = (f"at least {HELD:.0%}", f"at most {FACTOR:g}x") if loaded else ("", "")
    verdicts = (held >= HELD, factor <= FACTOR) if loaded else (None, None)
    return [
        Row(f"{what}: done by the eta", f"{held:.1%} of {len(promises)}", asked[0], verdicts[0]),
        Row("  eta / real time, median", f"{factor:.2f}x", asked[1], verdicts[1]),
    ]
