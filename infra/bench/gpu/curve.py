"""Step time of the denoiser by batch size, with guidance, beside the matrix product's rate."""

from statistics import median
from typing import Any

from infra.bench.gpu import device
from infra.bench.gpu.models import ARCHITECTURES, cases, load_ours
from infra.bench.gpu.plan import Plan
from infra.bench.gpu.traffic import sample
from infra.bench.gpu.work import work
from infra.bench.knee import NEAR, knee
from infra.bench.report import Finding, Row
from worker.gpu.families import DeviceMemoryFull

__all__ = ["cases", "measure"]


def measure(plan: Plan, case: str) -> Finding:
    """From one image up to what fits."""
    name, form = case.split()
    rates = device.peak_rates(plan)
    pipeline = load_ours(name, plan, form)
    samples = [sample(name, plan, number) for number in range(max(plan.batches))]
    operations = work(name, tiny=plan.tiny).row * ARCHITECTURES[name].halves
    points: dict[int, dict[str, Any]] = {}
    for batch in plan.batches:
        if points and plan.is_late:
            break
        try:
            points[batch] = _point(plan, pipeline, samples[:batch], operations)
        except DeviceMemoryFull:
            break
    after = device.peak_rates(plan)
    results = {"rates_before": rates, "rates_after": after, "points": points}
    return Finding(results, _rows(case, plan, points, (rates, after)))


def _point(plan: Plan, pipeline: Any, samples: list[Any], operations: int) -> dict[str, Any]:
    for one in samples:
        if one.denoising is None:
            pipeline.prepare(one)
            pipeline.begin(one)
    batch = len(samples)
    if hasattr(pipeline, "warm_up"):  # only what was warmed up runs compiled
        pipeline.warm_up(samples[0], batch)
    times = device.seconds(plan, lambda: pipeline.predict(samples, batch))
    step = median(times)
    return {
        "seconds": times,
        "median": step,
        "image_steps_per_second": batch / step,
        "tflops": batch * operations / step / 1e12,
    }


def _rows(case: str, plan: Plan, points: dict[int, Any], rates: Any) -> list[Row]:
    roof = median(rate["matmul_tflops"] for rate in rates)
    rows = [Row(f"curve, {case}: matrix product", f"{roof:.1f} TFLOP/s")]
    for batch, point in points.items():
        low, high = min(point["seconds"]), max(point["seconds"])
        milliseconds = f"{point['median'] * 1e3:.2f} ms ({low * 1e3:.2f} to {high * 1e3:.2f})"
        reached = f"{point['tflops']:.1f} TFLOP/s, {point['tflops'] / roof:.0%}"
        rows.append(Row(f"  {batch} images a step", f"{milliseconds}; {reached}"))
    if missing := [str(batch) for batch in plan.batches if batch not in points]:
        rows.append(Row(f"  {', '.join(missing)} images a step", "did not fit, or no time left"))
    enough = knee({batch: point["median"] for batch, point in points.items()})
    return [*rows, Row("  knee", f"{enough} images reach {NEAR:.0%} of the best rate")]
