"""The true sizes: parameters, operations, and numbers that stay finite from noise to pixels."""

import time
from typing import Any

import torch

from infra.bench.gpu import device
from infra.bench.gpu.models import ARCHITECTURES, denoiser, load_ours, make_parts
from infra.bench.gpu.plan import Plan
from infra.bench.gpu.traffic import operations, sample
from infra.bench.gpu.work import META, work
from infra.bench.report import Finding, Row

STEPS = 3
LEAST, MOST = 0.01, 100.0
"""Standard deviations of latents and predictions that a trained model could have too."""


def cases(plan: Plan) -> tuple[str, ...]:
    """The models."""
    return plan.models


def measure(plan: Plan, name: str) -> Finding:
    """Build one, and take a few steps."""
    parts = make_parts(name, META, tiny=plan.tiny)
    counts = {part: sum(p.numel() for p in net.parameters()) for part, net in parts.items()}
    counted = work(name, tiny=plan.tiny)
    started = time.perf_counter()
    pipeline = load_ours(name, plan)
    device.synchronise(plan)
    built = time.perf_counter() - started
    spread = _spread(pipeline, sample(name, plan, 1, steps=STEPS))
    results = {
        "parameters": counts,
        "tflop": {part: count / 1e12 for part, count in vars(counted).items()},
        "tflop_per_image": operations(name, plan) / 1e12,
        "seconds_to_build": built,
        "standard_deviations": spread,
    }
    size = sum(p.numel() for p in denoiser(parts).parameters())
    return Finding(results, _rows(name, plan, size, results))


def _rows(name: str, plan: Plan, size: int, results: dict[str, Any]) -> list[Row]:
    published = ARCHITECTURES[name].parameters
    sized = Row(f"{name}: parameters of the denoiser", f"{size / 1e6:.1f} M")
    if not plan.tiny:
        sized = Row(sized.what, sized.measured, f"{published / 1e6:.1f} M", size == published)
    spread = results["standard_deviations"]
    fit = all(LEAST < value < MOST for value in spread.values())
    said = ", ".join(f"{part} {value:.2f}" for part, value in spread.items())
    return [
        sized,
        Row(f"{name}: TFLOP for an image", f"{results['tflop_per_image']:.2f}"),
        Row(f"{name}: standard deviations", said, f"{LEAST} to {MOST:g}, finite", fit),
    ]


def _spread(pipeline: Any, one: Any) -> dict[str, float]:
    pipeline.prepare(one)
    pipeline.begin(one)
    spread = {"first latents": one.denoising.latents.float().std().item()}
    prediction = torch.zeros(())
    while one.step < one.total:
        prediction = pipeline.predict([one], 1)[0]
        pipeline.advance(one, prediction)
    spread["prediction"] = prediction.float().std().item()
    spread["last latents"] = one.denoising.latents.float().std().item()
    spread["pixels"] = float(pipeline.finish(one).pixels.std())
    return spread
