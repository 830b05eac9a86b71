"""The front door's whole way in, over HTTP, beside bare Celery calls: each on the same core.

Redis and the clients share the other core. Latencies count from the moment at which a request was
due; the clients' timers tick in milliseconds, and what that adds is not taken off.
"""

import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from celery import Celery
from redis import Redis

from infra.bench.arrivals import poisson_times
from infra.bench.jobs import UNLIMITED
from infra.bench.load import closed_loop, open_loop
from infra.bench.naive import QUEUE, generate
from infra.bench.processes import TICK, naive_door, pin, two_shares
from infra.bench.report import (
    Effort,
    Finding,
    Row,
    Stopwatch,
    Watch,
    in_turns,
    in_words,
    ratio_row,
    spread,
)
from infra.local import Stack
from infra.vitals import cpu_seconds
from shared.jobs import new_job_id

CLIENTS, OPEN_CLIENTS = 32, 128
SHARE = 0.7
"""Of the closed loop's rate, for the latencies."""
MOST_LATENCY = 20
"""Milliseconds that 99 of 100 requests may take."""
KEYS = {f"key-of-{tenant}": tenant for tenant in ("alice", "bob", "carol")}
BODY = {
    "prompt": "an astronaut in front of the stars, oil painting",
    "negative_prompt": "blurry, low quality",
    "width": 512,
    "height": 512,
    "samples": 1,
    "num_inference_steps": 30,
    "strength": 0.7,
    "guidance_scale": 7.5,
    "scheduler": "DDIMScheduler",
    "seed": 42,
}
BARE, NAIVE = "bare apply_async", "FastAPI + apply_async"
PATHS = {NAIVE: "/img2img", "v3": "/api/v3/img2img", "v1": "/v1/img2img"}
OURS = ("v3", "v1")


@dataclass(frozen=True)
class Scene:
    """Who is there, and on which core."""

    url: str
    """Redis's."""
    redis: Redis
    server: int
    """Redis's process."""
    doors: dict[str, tuple[int, int]]
    """Process and port of each way in by HTTP."""
    own: set[int]
    """The core of what is measured."""
    others: set[int]


def measure(effort: Effort, watch: Watch) -> Finding:
    """Requests per second in turns, then latencies below that; no job may be missing."""
    ways, count = (BARE, *PATHS), effort.door
    rates: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    with _scene() as scene:
        for name in ways:  # not counted
            _rates(scene, name, CLIENTS)
        for done, name in in_turns(ways, effort.door_rounds):
            watch(0.8 * done, f"{count} requests, {name}")
            rates[name].append(_rates(scene, name, count))
        watch(0.8, "latencies")
        middle = {name: median(rate["wall"] for rate in rates[name]) for name in OURS}
        latencies = {name: _latencies(scene, name, count, SHARE * middle[name]) for name in OURS}
    return Finding({"per_second": rates, "latencies": latencies}, _rows(rates, latencies))


@contextmanager
def _scene() -> Iterator[Scene]:
    """Both doors on one core; Redis, and this process, off it where there are two."""
    with tempfile.TemporaryDirectory() as folder:
        keys = [{"tenant": t, "key": key, "most_live": UNLIMITED} for key, t in KEYS.items()]
        (file := Path(folder) / "bench-keys.json").write_text(json.dumps(keys))
        env = {"IMG2IMG_API_KEYS": str(file), "IMG2IMG_MOST_WAITING": str(UNLIMITED)}
        with (
            Stack(folder, port=0, env=env, processes=("redis", "s3", "api")) as stack,
            naive_door(stack.redis_url) as naive,
            Redis.from_url(stack.redis_url, decode_responses=True) as redis,
            two_shares() as (own, others),
        ):
            server, api = (stack.processes[name].pid or 0 for name in ("redis", "api"))
            ours = (api, int(stack.url.rpartition(":")[2]))
            for process, cores in ((api, own), (naive[0], own), (server, others)):
                pin(process, cores)
            doors = {NAIVE: naive, **dict.fromkeys(OURS, ours)}
            yield Scene(stack.redis_url, redis, server, doors, own, others)


def _rates(scene: Scene, name: str, count: int) -> dict[str, float]:
    """Requests per second by the wall, and by the CPU time of who serves, of Redis, of clients."""
    began = cpu_seconds(scene.server)
    rates = _apply_async(scene, count) if name == BARE else _ask(scene, name, count)
    spent = cpu_seconds(scene.server) - began
    scene.redis.flushdb()
    return rates | {"redis": count / max(spent, TICK)}


def _apply_async(scene: Scene, count: int) -> dict[str, float]:
    """A loop over a default Celery app; its message carries an id, nothing else."""
    os.sched_setaffinity(0, scene.own)
    with Celery(broker=scene.url, set_as_current=False) as celery:
        task = celery.task(generate, ignore_result=True)
        task.apply_async((str(new_job_id()),), queue="warm-up")
        with Stopwatch() as watch:
            for _ in range(count):
                task.apply_async((str(new_job_id()),), queue=QUEUE)
    assert scene.redis.llen(QUEUE) == count, "a message is missing"
    return watch.rates(count)


def _ask(scene: Scene, name: str, count: int) -> dict[str, float]:
    os.sched_setaffinity(0, scene.others)
    process, port = scene.doors[name]
    requests = [_request(name, number) for number in range(count)]
    began = cpu_seconds(process)
    with Stopwatch() as watch:
        answers = closed_loop(port, requests, clients=CLIENTS)
    spent = cpu_seconds(process) - began
    _check(scene.redis, name, answers)
    rates = watch.rates(count)
    return {"wall": rates["wall"], "cpu": count / max(spent, TICK), "clients": rates["cpu"]}


def _latencies(scene: Scene, name: str, count: int, rate: float) -> dict[str, Any]:
    """From the moment a request was due to its answer."""
    os.sched_setaffinity(0, scene.others)
    requests = [_request(name, number) for number in range(count)]
    _, port = scene.doors[name]
    times = poisson_times(rate, count, seed=1)
    answered = open_loop(port, requests, times, clients=OPEN_CLIENTS)
    answers, seconds = zip(*answered, strict=True)
    _check(scene.redis, name, answers)
    scene.redis.flushdb()
    return {"rate": rate, "milliseconds": spread(seconds)}


def _request(name: str, number: int) -> bytes:
    """Each with an idempotency key of its own; tenants take turns."""
    once = str(uuid.uuid4())
    body = json.dumps(BODY | {"init_image": f"https://example.com/{once}.png"}).encode()
    head = {
        "Host": "bench",
        "Authorization": f"Bearer {[*KEYS][number % len(KEYS)]}",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Idempotency-Key": once,
        "Prefer": "respond-async",
    }
    lines = (f"POST {PATHS[name]} HTTP/1.1", *(f"{field}: {text}" for field, text in head.items()))
    return "\r\n".join((*lines, "", "")).encode() + body


def _check(redis: Redis, name: str, answers: Sequence[bytes]) -> None:
    """Every request was accepted, and what was accepted is there."""
    refused = [answer for answer in answers if answer.split(maxsplit=2)[1] not in (b"200", b"202")]
    assert not refused, refused[0]
    if name == NAIVE:
        assert redis.llen(QUEUE) == len(answers), "a message is missing"
        return
    ids = {json.loads(answer.partition(b"\r\n\r\n")[2])["id"] for answer in answers}
    assert len(ids) == len(answers), "two requests got one job"
    assert redis.exists(*(f"job:{job_id}" for job_id in ids)) == len(ids), "a job is missing"
    assert redis.zcard("waiting:default") == len(ids), "a job waits nowhere"


def _rows(rates: dict[str, list[dict[str, float]]], latencies: dict[str, Any]) -> list[Row]:
    clocks = {name: _by_clock(rounds) for name, rounds in rates.items()}
    rows = [
        Row(f"front door, one core: {name}", f"{median(clocks[name]['wall']):,.0f}/s")
        for name in rates
    ]
    for name in OURS:
        for than, least in ((BARE, 4), (NAIVE, 7)):
            ours, theirs = clocks[name], clocks[than]
            rows += [
                ratio_row(f"  {name} / {than}", ours["wall"], theirs["wall"], least=least),
                ratio_row(f"  {name} / {than}, by CPU time", ours["cpu"], theirs["cpu"]),
            ]
        busy = [
            wall / redis + wall / clients
            for wall, redis, clients in zip(
                *(clocks[name][clock] for clock in ("wall", "redis", "clients")), strict=True
            )
        ]
        found = latencies[name]
        rows += [
            Row(f"  {name}, Redis and clients had their core", f"{median(busy):.0%} of the time"),
            Row(
                f"  {name}, latency at {SHARE:.0%} of its rate, Poisson ({found['rate']:,.0f}/s)",
                in_words(found["milliseconds"]),
                f"p99 at most {MOST_LATENCY} ms",
                found["milliseconds"]["p99"] <= MOST_LATENCY,
            ),
        ]
    return rows


def _by_clock(rounds: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    return {clock: [rates[clock] for rates in rounds] for clock in rounds[0]}
