"""Which policy serves more people in time, on a simulated device under open-loop arrivals."""

from collections.abc import Callable, Sequence
from itertools import product
from statistics import mean, median
from typing import Any

import numpy as np
from rich.table import Column, Table

from infra.bench.report import Effort, Finding, Row, Watch, ratio_row
from infra.bench.simulator import (
    CAP,
    DECODE,
    ENCODE,
    Request,
    Run,
    batched_by_step,
    batched_whole,
    poisson,
    step_seconds,
)

SLO, IN_TIME = 2.0, 0.99
"""Seconds that a picture may take, and the share of them that must not take longer."""
LOADS = (0.5, 0.7, 0.9)
WARM_UP = 0.1
"""The share of the requests, at the start of a run, that only fill the queue."""
ANY_SIZE = range(1, CAP + 1)
ALONE, EXACT, AGREEING, OURS = "one at a time", "exact key", "steps and strength", "step level"
STATIC = "static batch"
"""Whatever waits, run until its longest request is done, as one call of a plain pipeline would."""
EXACT_UNPADDED, OURS_UNPADDED = f"{EXACT}, unpadded", f"{OURS}, unpadded"
POLICIES: dict[str, Callable[[Sequence[Request]], Run]] = {
    ALONE: lambda requests: batched_whole(requests, id),
    STATIC: lambda requests: batched_whole(requests, lambda _: None),
    EXACT: lambda requests: batched_whole(requests, exact_key),
    EXACT_UNPADDED: lambda requests: batched_whole(requests, exact_key, ANY_SIZE),
    AGREEING: lambda requests: batched_whole(requests, lambda r: (r.steps, r.strength)),
    OURS: batched_by_step,
    OURS_UNPADDED: lambda requests: batched_by_step(requests, ANY_SIZE),
}
MIXES = {
    "mixed": list(product((20, 25, 30, 50), (0.3, 0.5, 0.7, 0.9), (5.0, 7.5, 10.0))),
    "identical": [(30, 0.7, 7.5)],
}
PLAN = {"mixed": tuple(POLICIES), "identical": (ALONE, STATIC, EXACT, OURS)}


def exact_key(request: Request) -> tuple[int, float, float]:
    """All parameters."""
    return request.steps, request.strength, request.guidance


def capacity(mix: Sequence[tuple[int, float, float]]) -> float:
    """Images per second if every step were a full batch."""
    calls = mean(int(steps * strength) for steps, strength, _ in mix)
    return 1 / (ENCODE + DECODE + calls * step_seconds(CAP) / CAP)


def measure(effort: Effort, watch: Watch) -> Finding:
    """Latency at fixed loads, and the highest rate that keeps the promise."""
    turns = [(kind, policy) for kind, policies in PLAN.items() for policy in policies]
    results: dict[str, Any] = {"slo_seconds": SLO, "cap": CAP}
    for turn, (kind, policy) in enumerate(turns):
        watch(turn / len(turns), f"{kind}: {policy}")
        mix = MIXES[kind]
        result = results.setdefault(kind, {"capacity": capacity(mix), "policies": {}})
        result["policies"][policy] = {
            "goodput": [
                _goodput(POLICIES[policy], mix, effort, seed) for seed in range(effort.seeds)
            ],
            "loads": {load: _at(POLICIES[policy], mix, load, effort) for load in LOADS},
        }
    return Finding(results, _rows(results), _detail(results))


def counted(run: Run) -> list[float]:
    """Latencies after the warm-up."""
    return run.latencies[int(len(run.latencies) * WARM_UP) :]


def _goodput(policy: Callable, mix: Sequence, effort: Effort, seed: int) -> float:
    """By halving, since a higher rate of the same arrivals is never easier."""
    low, high = 0.0, capacity(mix)
    for _ in range(effort.halvings):
        rate = (low + high) / 2
        run = policy(poisson(mix, rate=rate, count=effort.arrivals, seed=seed))
        kept = mean(latency <= SLO for latency in counted(run)) >= IN_TIME
        low, high = (rate, high) if kept else (low, rate)
    return low


def _at(policy: Callable, mix: Sequence, load: float, effort: Effort) -> dict[str, Any]:
    rate = load * capacity(mix)
    runs = [
        policy(poisson(mix, rate=rate, count=effort.arrivals, seed=seed))
        for seed in range(effort.seeds)
    ]
    points = np.array([np.percentile(counted(run), (50, 95, 99)) for run in runs])
    return {
        **dict(zip(("p50", "p95", "p99"), points.mean(axis=0).tolist(), strict=True)),
        "p99_by_seed": points[:, 2].tolist(),
        "occupancy": mean(run.samples / run.forwards for run in runs),
        "padding_waste": mean(1 - run.samples / run.rows for run in runs),
    }


def _detail(results: dict[str, Any]) -> Table:
    first = Column("simulated device", no_wrap=True)
    loads = (f"p50/p95/p99 at {load:.0%}" for load in LOADS)
    drawn = Table(first, "in time", *loads, f"a step at {LOADS[-1]:.0%}")
    drawn.caption = (
        f"In time: requests a second of which {IN_TIME:.0%} take at most {SLO:g} s. Latencies in "
        "seconds, at shares of what full batches serve; where a policy cannot keep up, its latency "
        "has no steady value but grows with the run. A step: samples that share it."
    )
    for kind in MIXES:
        drawn.add_row(f"[bold]{kind}[/], full batches", f"{results[kind]['capacity']:.2f}")
        for policy, found in results[kind]["policies"].items():
            points = found["loads"].values()
            drawn.add_row(
                f"  {policy}",
                f"{median(found['goodput']):.2f}",
                *("/".join(f"{at[p]:.2f}" for p in ("p50", "p95", "p99")) for at in points),
                f"{[*points][-1]['occupancy']:.2f} of {CAP}",
            )
    return drawn


def _rows(results: dict[str, Any]) -> list[Row]:
    mixed, same = (results[kind]["policies"] for kind in MIXES)
    share = median(mixed[OURS]["goodput"]) / results["mixed"]["capacity"]
    filled = mixed[OURS]["loads"][0.9]["occupancy"] / CAP
    return [
        _in_time("mixed", mixed, OURS, STATIC),
        _in_time("mixed", mixed, OURS, EXACT, least=1.45),
        _in_time("mixed", mixed, OURS, AGREEING, least=1.3),
        _in_time("mixed", mixed, OURS_UNPADDED, EXACT_UNPADDED),
        _in_time("mixed", mixed, OURS, EXACT_UNPADDED),
        _in_time("identical", same, OURS, EXACT, least=1.0),
        _p99(mixed, EXACT, most=0.3),
        _p99(mixed, AGREEING, most=0.5),
        _share_row(f"mixed, in time: {OURS} / full batches", share, least=0.78),
        _share_row(f"mixed, samples a step at 90% load: {OURS} / cap", filled, least=0.75),
    ]


def _in_time(
    kind: str, policies: dict[str, Any], ours: str, other: str, *, least: float | None = None
) -> Row:
    rates = (policies[name]["goodput"] for name in (ours, other))
    return ratio_row(f"{kind}, in time: {ours} / {other}", *rates, least=least)


def _p99(policies: dict[str, Any], other: str, *, most: float) -> Row:
    seconds = (policies[name]["loads"][0.7]["p99_by_seed"] for name in (OURS, other))
    return ratio_row(f"mixed, p99 at 70% load: {OURS} / {other}", *seconds, most=most)


def _share_row(what: str, share: float, *, least: float) -> Row:
    return Row(what, f"{share:.1%}", f"at least {least:.0%}", share >= least)
