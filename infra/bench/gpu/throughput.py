"""Images per second, request bytes to PNG bytes, in turns: ours and three rivals.

Plain diffusers one at a time, the same compiled, and a static batch of requests that all agree.
Ours is closed-loop: as many requests in flight as a worker has slots, each in a thread that
decodes, waits and encodes.
"""

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from infra.bench.gpu import device
from infra.bench.gpu.busy import busy
from infra.bench.gpu.models import BATCH, buckets, cases, load_ours
from infra.bench.gpu.plan import Plan
from infra.bench.gpu.traffic import PATIENCE, Plain, operations, running, sample
from infra.bench.report import ROOT, Finding, Row, Stopwatch, ratio_row
from worker.gpu.encoding import encode
from worker.gpu.engine import Engine
from worker.gpu.images import decode, init_pixels
from worker.gpu.samples import Sample

OURS, PLAIN, COMPILED, STATIC = "ours", "plain", "compiled", "static"
PHOTO = ROOT / "infra" / "demo" / "astronaut.jpg"
SLOTS = 16
COUNTS = {
    "sd15": {OURS: 64, PLAIN: 8, COMPILED: 16, STATIC: 16},
    "sdxl": {OURS: 24, PLAIN: 4, COMPILED: 4, STATIC: 8},
    "flux": {OURS: 8, PLAIN: 2, COMPILED: 2, STATIC: 4},
}
"""Images of a round."""
OF_ROOFLINE = {"sd15": 0.5, "sdxl": 0.6, "flux": 0.7}
TIMES_PLAIN = {"sd15": 5.0, "sdxl": 2.5, "flux": 1.7}
TIMES_COMPILED = {"sd15": 1.5}
BUSY = 0.97

__all__ = ["cases", "measure"]


@dataclass
class Contest:
    """Our engine and its rivals over the same requests."""

    name: str
    plan: Plan
    engine: Engine
    plain: Plain
    photo: bytes = field(default_factory=PHOTO.read_bytes)
    latencies: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.compiled = self.plain.compiled(self.plan)

    def ours(self, numbers: range) -> None:
        """Through the engine, from threads as a worker has them."""
        with ThreadPoolExecutor(SLOTS) as pool:
            self.latencies = list(pool.map(self._one, numbers))

    def one_at_a_time(self, numbers: range, pipe: Plain | None = None) -> None:
        """Plain diffusers, and Pillow's PNG as it comes."""
        for number in numbers:
            self._save((pipe or self.plain)([self._request(number)]))

    def compiled_one_at_a_time(self, numbers: range) -> None:
        """The same with a compiled denoiser."""
        self.one_at_a_time(numbers, self.compiled)

    def static(self, numbers: range) -> None:
        """Whole batches from the first step to the last."""
        size = BATCH[self.name]
        for start in range(0, len(numbers), size):
            self._save(self.plain([self._request(n) for n in numbers[start : start + size]]))

    def _one(self, number: int) -> float:
        started = time.perf_counter()
        one = self._request(number)
        self.engine.submit([one])
        encode(one.done.result(PATIENCE).pixels)
        return time.perf_counter() - started

    def _request(self, number: int) -> Sample:
        one = sample(self.name, self.plan, number)
        pixels = init_pixels(decode(self.photo, "init_image"), one.width, one.height)
        one.image = np.roll(pixels, number, axis=1)  # another picture: no cache shall help
        return one

    def _save(self, images: Any) -> None:
        for image in images:
            image.save(io.BytesIO(), "PNG")


def measure(plan: Plan, case: str) -> Finding:
    """Rounds in turns; the order of the turns rotates."""
    name, form = case.split()
    rates = [device.peak_rates(plan)]
    pipeline = load_ours(name, plan, form)
    with running(pipeline, plan, buckets(name, form)) as engine:
        contest = Contest(name, plan, engine, Plain(name, plan))
        policies: dict[str, Callable[[range], None]] = {
            OURS: contest.ours,
            PLAIN: contest.one_at_a_time,
            COMPILED: contest.compiled_one_at_a_time,
            STATIC: contest.static,
        }
        counts = {p: max(1, count // plan.thinned) for p, count in COUNTS[name].items()}
        lost = {p: said for p in list(policies) if (said := _warm(policies, p, counts[p]))}
        before = engine.steps, engine.rows
        speeds = _rounds(plan, policies, counts)
        steps, rows = engine.steps - before[0], engine.rows - before[1]
        latencies = contest.latencies
        while_busy = busy(plan, lambda: contest.ours(range(counts[OURS])))
    rates.append(device.peak_rates(plan))
    results = {
        "images": counts,
        "images_per_second": speeds,
        "failed": lost,
        "occupancy": rows / steps,
        "latencies": latencies,
        "rates": rates,
        "tflop_per_image": operations(name, plan) / 1e12,
        "device_time": while_busy,
    }
    return Finding(results, _rows(case, results))


def _warm(policies: dict[str, Callable[[range], None]], policy: str, count: int) -> str | None:
    """Run it uncounted; a rival that cannot run says why and takes no part."""
    try:
        policies[policy](range(min(count, max(BATCH.values()))))
    except Exception as error:
        if policy == OURS:
            raise
        del policies[policy]
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None


def _rounds(
    plan: Plan, policies: dict[str, Callable[[range], None]], counts: dict[str, int]
) -> dict[str, list[float]]:
    names, speeds = list(policies), {policy: list[float]() for policy in policies}
    for number in range(plan.rounds):
        if number and plan.is_late:
            break
        turn = number % len(names)
        for policy in names[turn:] + names[:turn]:
            device.synchronise(plan)
            first = 1000 * (number + 1)  # prompts that no cache has seen
            with Stopwatch() as watch:
                policies[policy](range(first, first + counts[policy]))
            speeds[policy].append(counts[policy] / watch.wall)
    return speeds


def _rows(case: str, results: dict[str, Any]) -> list[Row]:
    name, _ = case.split()
    speeds = results["images_per_second"]
    said = " | ".join(f"{policy} {median(rates):.3f}" for policy, rates in speeds.items())
    roof = median(rate["matmul_tflops"] for rate in results["rates"])
    share = median(speeds[OURS]) * results["tflop_per_image"] / roof
    rows = [
        Row(f"{case}: images/s", said),
        _least(f"{case}: ours / matrix product's rate", share, OF_ROOFLINE[name]),
    ]
    asked = {PLAIN: TIMES_PLAIN, COMPILED: TIMES_COMPILED, STATIC: {}}
    for rival, least in asked.items():
        what = f"{case}: ours / {rival}"
        if rival in speeds:
            rows.append(ratio_row(what, speeds[OURS], speeds[rival], least=least.get(name)))
        else:
            rows.append(Row(what, f"not measured: {results['failed'][rival]}", "", held=False))
    p50, p95, p99 = np.percentile(results["latencies"], (50, 95, 99))
    rows += [
        Row(f"{case}: images a step", f"{results['occupancy']:.2f}"),
        Row(f"{case}: p50/p95/p99 at saturation", f"{p50:.2f}/{p95:.2f}/{p99:.2f} s"),
    ]
    times = results["device_time"]
    if times is None:
        return [*rows, Row(f"{case}: device busy", "not measured")]
    return [
        *rows,
        _least(f"{case}: device busy", times["busy"], BUSY),
        Row(f"{case}: of that copying", f"{times['copying']:.2%}"),
    ]


def _least(what: str, share: float, least: float) -> Row:
    return Row(what, f"{share:.1%}", f"at least {least:.0%}", share >= least)
