"""Which policy serves more people in time, on a simulated device under open-loop arrivals."""

import math
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from typing import Any

import numpy as np

from infra.bench.arrivals import Traffic, bursts, poisson
from infra.bench.policies import OURS, POLICIES, SCENARIOS, Policy, Scenario
from infra.bench.report import Effort, Finding, Watch
from infra.bench.scheduling_report import curves, detail, rows
from infra.bench.simulator import Profile, Run, batched_by_engine
from worker.gpu.engine import BUCKETS

IN_TIME = 0.99
"""The share of the pictures that must not take longer than the profile's limit."""
WARM_UP = 0.2
"""The share of the requests, at the start of a run, that only fill the queue."""
JUDGED = "70%"
"""The load whose p99 is asked for."""
BURST_LOAD = 0.7
CLIENTS = 2
"""Of a closed loop, times the cap."""


def measure(effort: Effort, watch: Watch) -> Finding:
    """Latency under every trace, and the highest rate that keeps the promise.

    A run is counted time, the same on every machine; so as many go at once as there are cores.
    """
    tasks = [
        (name, policy, seed)
        for policy in POLICIES
        for name, scenario in SCENARIOS.items()
        if policy in scenario.policies
        for seed in range(effort.seeds)
    ]
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        engine = {name: pool.submit(beside_engine, effort, name) for name in SCENARIOS}
        runs = {pool.submit(run, effort, *task): task for task in tasks}
        for done in as_completed(runs):
            name, policy, seed = runs[done]
            watch(len(found) / len(tasks), f"{name}: {policy}, seed {seed}")
            found[runs[done]] = done.result()
    results = {
        name: {
            "slo_seconds": scenario.profile.slo,
            "cap": scenario.profile.cap,
            "capacity": scenario.capacity,
            "engine": engine[name].result(),
            "policies": {
                policy: _by_seed([found[name, policy, seed] for seed in range(effort.seeds)])
                for policy in scenario.policies
            },
        }
        for name, scenario in SCENARIOS.items()
    }
    return Finding(results, rows(results), detail(results), curves(results))


def run(effort: Effort, name: str, policy: str, seed: int) -> dict[str, Any]:
    """One policy, with the cap that gives the highest goodput, and that with the lowest p99."""
    scenario, serve = SCENARIOS[name], POLICIES[policy]
    caps = scenario.caps(policy)

    drawn = traces(scenario, effort.arrivals, seed)

    def served(trace: str, cap: int) -> dict[str, Any]:
        return point(serve(drawn[trace](), scenario.profile, cap), scenario.profile)

    rates = {cap: goodput(serve, scenario, cap, effort, seed) for cap in caps}
    quickest = min(caps, key=lambda cap: served(JUDGED, cap)["p99"])
    return {
        "caps": [max(caps, key=lambda cap: rates[cap]), quickest],
        "goodput": max(rates.values()),
        "traces": {trace: served(trace, quickest) for trace in drawn},
    }


def beside_engine(effort: Effort, name: str) -> dict[str, Any]:
    """The engine itself on every trace, beside the loop that stands for it in long runs."""
    scenario = SCENARIOS[name]
    profile = scenario.profile
    drawn = traces(scenario, effort.by_engine, seed=0)
    loop, engine = (
        {trace: serve(traffic(), profile, profile.cap) for trace, traffic in drawn.items()}
        for serve in (POLICIES[OURS], batched_by_engine)
    )
    return {
        "difference": max(
            abs(ours - its)
            for trace in loop
            for ours, its in zip(loop[trace].latencies, engine[trace].latencies, strict=True)
        ),
        "join_p99": float(np.percentile(engine[JUDGED].joins, 99)),
    }


def traces(scenario: Scenario, count: int, seed: int) -> dict[str, Callable[[], Traffic]]:
    """By their names: Poisson arrivals at each load, in bursts, and a closed loop."""
    draw = partial(poisson, scenario.mix, count=count, seed=seed)
    steady = {
        f"{load:.0%}": partial(Traffic, draw(rate=load * scenario.capacity))
        for load in scenario.loads
    }
    return steady | {
        "bursts": partial(Traffic, bursts(draw(rate=BURST_LOAD * scenario.capacity))),
        "closed loop": partial(
            Traffic, draw(rate=math.inf), clients=CLIENTS * scenario.profile.cap
        ),
    }


def goodput(serve: Policy, scenario: Scenario, cap: int, effort: Effort, seed: int) -> float:
    """By halving, since a higher rate of the same arrivals is never easier."""
    low, high = 0.0, scenario.capacity
    for _ in range(effort.halvings):
        rate = (low + high) / 2
        requests = poisson(scenario.mix, rate=rate, count=effort.arrivals, seed=seed)
        latencies = counted(serve(Traffic(requests), scenario.profile, cap).latencies)
        kept = np.mean(np.array(latencies) <= scenario.profile.slo) >= IN_TIME
        low, high = (rate, high) if kept else (low, rate)
    return low


def point(served: Run, profile: Profile) -> dict[str, Any]:
    """What is worth keeping of a run."""
    p50, p95, p99, longest = np.percentile(counted(served.latencies), (50, 95, 99, 100)).tolist()
    slowdowns = counted(served.slowdowns)
    spent = {step: n * profile.step_seconds(step[1]) for step, n in served.steps.items()}
    in_steps = sum(spent.values())
    each = profile.encode + profile.decode
    shares = [
        sum(n for (samples, _), n in served.steps.items() if samples == size) / served.forwards
        for size in range(1, BUCKETS[-1] + 1)
    ]
    return {
        "p50": p50,
        "p95": p95,
        "p99": p99,
        "max": longest,
        "slowdown_mean": float(np.mean(slowdowns)),
        "slowdown_p99": float(np.percentile(slowdowns, 99)),
        "per_second": len(served.latencies) / served.seconds,
        "occupancy": served.samples / served.forwards,
        "occupancy_over_time": sum(n * seconds for (n, _), seconds in spent.items()) / in_steps,
        "forwards_by_samples": shares,
        "padding_waste": 1 - served.samples / served.rows,
        "busy": (in_steps + each * len(served.latencies)) / served.seconds,
    }


def counted(values: Sequence[float]) -> Sequence[float]:
    """Those after the warm-up."""
    return values[int(len(values) * WARM_UP) :]


def _by_seed(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Lists, one value for each seed, at the leaves."""
    return {
        "caps": [one["caps"] for one in found],
        "goodput": [one["goodput"] for one in found],
        "traces": {
            trace: {name: [one["traces"][trace][name] for one in found] for name in values}
            for trace, values in found[0]["traces"].items()
        },
    }
