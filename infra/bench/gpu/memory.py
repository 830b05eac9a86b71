"""Bytes by batch size, and what happens when the device is full."""

from typing import Any

from infra.bench.gpu import device
from infra.bench.gpu.models import load_ours
from infra.bench.gpu.plan import Plan
from infra.bench.gpu.traffic import PATIENCE, running, sample
from infra.bench.report import Finding, Row
from shared.errors import OutOfMemory
from worker.gpu.engine import BUCKETS, Engine
from worker.gpu.families import DeviceMemoryFull
from worker.gpu.samples import Sample

FULL = "full device"
STEPS = 4
ALL = BUCKETS[-1]
"""Samples that ask for room at once."""
LARGE = 1024
"""Pixels a side that even a miniature needs memory for."""
SLACK = 64 * 2**20
"""Bytes that the allocator's blocks and the libraries' workspaces take beside the tensors."""


def cases(plan: Plan) -> tuple[str, ...]:
    """The models, and the first one on a full device."""
    return (*plan.models, f"{plan.models[0]} {FULL}")


def measure(plan: Plan, case: str) -> Finding:
    """Peaks of one model, or its life on a full device."""
    name, _, full = case.partition(" ")
    return _ladder(plan, name) if full else _peaks(plan, name)


def _peaks(plan: Plan, name: str) -> Finding:
    before = device.held(plan)
    pipeline = load_ours(name, plan)
    results: dict[str, Any] = {"resident": device.held(plan) - before, "peaks": {}}
    samples = [sample(name, plan, number) for number in range(max(plan.batches))]
    pipeline.prepare(samples[0])
    results["begin"] = device.peak(plan, lambda: pipeline.begin(samples[0]))
    for one in samples[1:]:
        pipeline.prepare(one)
        pipeline.begin(one)
    for batch in plan.batches:
        try:
            peak = device.peak(plan, lambda b=batch: pipeline.predict(samples[:b], b))
        except DeviceMemoryFull:
            break
        results["peaks"][batch] = peak
    results["finish"] = device.peak(plan, lambda: pipeline.finish(samples[0]))
    said = ", ".join(f"{batch}: {_gib(peak)}" for batch, peak in results["peaks"].items())
    ends = f"begin {_gib(results['begin'])}, finish {_gib(results['finish'])}"
    return Finding(
        results,
        [
            Row(f"{name}: resident GiB", _gib(results["resident"])),
            Row(f"{name}: peak GiB by images a step", said),
            Row(f"{name}: peak GiB of both ends", ends),
        ],
    )


def _ladder(plan: Plan, name: str) -> Finding:
    pipeline = load_ours(name, plan)
    with running(pipeline, plan) as engine:
        alone, together = (_batch_peak(plan, pipeline, name, rows) for rows in (1, ALL))
        tight = max(alone, _ends_peak(plan, pipeline, name)) - device.held(plan) + SLACK
        results: dict[str, Any] = {"peak_of_one": alone, "peak_of_all": together}
        with device.filled(plan, leave=tight):
            results["room for one"] = _outcomes(engine, plan, name)
        with device.filled(plan, leave=0):
            results["no room"] = _outcomes(engine, plan, name)
        results["room again"] = _outcomes(engine, plan, name)
    return Finding(results, _rows(plan, name, results))


def _rows(plan: Plan, name: str, results: dict[str, Any]) -> list[Row]:
    one, none, again = (results[turn] for turn in ("room for one", "no room", "room again"))
    held = none["out_of_memory"] == ALL if plan.is_cuda else None  # a CPU cannot be filled
    return [
        Row(
            f"{name}, room for one: samples done",
            f"{one['done']}, in {one['steps']} forwards",
            str(ALL),
            one["done"] == ALL,
        ),
        Row(f"{name}, no room: samples refused", str(none["out_of_memory"]), str(ALL), held),
        Row(
            f"{name}, room again: samples done", str(again["done"]), str(ALL), again["done"] == ALL
        ),
    ]


def _batch_peak(plan: Plan, pipeline: Any, name: str, rows: int) -> int:
    one = _begun(plan, pipeline, name)
    return device.peak(plan, lambda: pipeline.predict([one], rows))


def _ends_peak(plan: Plan, pipeline: Any, name: str) -> int:
    one = _begun(plan, pipeline, name)
    again = _sample(plan, name, 0)
    pipeline.prepare(again)
    begin = device.peak(plan, lambda: pipeline.begin(again))
    return max(begin, device.peak(plan, lambda: pipeline.finish(one)))


def _begun(plan: Plan, pipeline: Any, name: str) -> Sample:
    one = _sample(plan, name, 0)
    pipeline.prepare(one)
    pipeline.begin(one)
    return one


def _outcomes(engine: Engine, plan: Plan, name: str) -> dict[str, Any]:
    before = engine.steps
    samples = [_sample(plan, name, number) for number in range(ALL)]
    engine.submit(samples)
    errors = [one.done.exception(PATIENCE) for one in samples]
    return {
        "done": errors.count(None),
        "out_of_memory": sum(isinstance(error, OutOfMemory) for error in errors),
        "others": [type(e).__name__ for e in errors if e and not isinstance(e, OutOfMemory)],
        "steps": engine.steps - before,
    }


def _sample(plan: Plan, name: str, number: int) -> Sample:
    side = {"side": LARGE} if plan.tiny and plan.is_cuda else {}
    return sample(name, plan, number, steps=STEPS, **side)


def _gib(size: int) -> str:
    return f"{size / device.GIB:.2f}"
