"""The demo model on this CPU: our engine, plain diffusers, and diffusers in exact-key batches."""

import random
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, schedulers
from PIL import Image
from prometheus_client import REGISTRY

from infra.bench.report import Curve, Effort, Finding, Row, Stopwatch, Watch, ratio_row
from infra.demo_model.build import build
from infra.demo_model.scenes import SIDE
from infra.local.child import ROOT
from shared.models import Registry
from worker.gpu.engine import Engine
from worker.gpu.families import Pipeline, load
from worker.gpu.pipelines import WarmPipelines
from worker.gpu.samples import Pixels, Sample

MODEL = "demo"
TRAFFIC: dict[str, dict[str, tuple[Any, ...]]] = {
    "mixed": {
        "steps": (6, 8, 10, 15),
        "strength": (0.3, 0.5, 0.7, 0.9),
        "guidance_scale": (3.0, 5.0, 7.5),
        "scheduler": ("DDIMScheduler", "EulerDiscreteScheduler", "DPMSolverMultistepScheduler"),
    },
    "identical": {
        "steps": (8,),
        "strength": (0.7,),
        "guidance_scale": (7.5,),
        "scheduler": ("DDIMScheduler",),
    },
}
LARGEST_BATCH = 8
STEPS_TIMED = 5
MOST_SECONDS = 3.0
"""For one image of the size that the model was trained for, in 8 steps."""
PATIENCE = 300
PADDED = "img2img_engine_padded_rows_total"

Paint = Callable[[list[Sample]], list[Pixels]]


class Diffusers:
    """The pipeline of diffusers, which shares nothing with ours but the files."""

    def __init__(self, folder: Path) -> None:
        self._pipe = StableDiffusionImg2ImgPipeline.from_pretrained(folder, safety_checker=None)
        self._pipe.set_progress_bar_config(disable=True)
        self._config = self._pipe.scheduler.config

    def one_at_a_time(self, samples: list[Sample]) -> list[Pixels]:
        """Each request in a call of its own."""
        return [self._call([sample])[0] for sample in samples]

    def exact_key(self, samples: list[Sample]) -> list[Pixels]:
        """What agrees in all parameters shares a call; the whole queue is known beforehand."""
        painted: dict[Sample, Pixels] = {}
        for batch in exact_batches(samples):
            painted |= zip(batch, self._call(batch), strict=True)
        return [painted[sample] for sample in samples]

    def _call(self, batch: list[Sample]) -> list[Pixels]:
        first = batch[0]
        self._pipe.scheduler = getattr(schedulers, first.scheduler).from_config(self._config)
        images = self._pipe(
            prompt=[sample.prompt for sample in batch],
            negative_prompt=[sample.negative_prompt for sample in batch],
            image=[Image.fromarray(sample.image) for sample in batch],
            num_inference_steps=first.steps,
            strength=first.strength,
            guidance_scale=first.guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(sample.seed) for sample in batch],
        ).images
        return [np.asarray(image) for image in images]


def exact_batches(samples: list[Sample]) -> list[list[Sample]]:
    """Samples that agree in all parameters, at most `LARGEST_BATCH` together."""
    groups = defaultdict(list)
    for s in samples:
        groups[s.steps, s.strength, s.guidance_scale, s.scheduler].append(s)
    return [
        group[start : start + LARGEST_BATCH]
        for group in groups.values()
        for start in range(0, len(group), LARGEST_BATCH)
    ]


def requests(kind: str, count: int, *, side: int, seed: int) -> list[Sample]:
    """The same requests for the same seed, each with its own prompt, picture and seed."""
    draw = random.Random(seed)
    noise = np.random.default_rng(seed)
    return [
        Sample(
            job_id=number,
            model_id=MODEL,
            prompt=f"a cat, picture {seed} {number}",
            negative_prompt="blurry",
            image=noise.integers(0, 256, (side, side, 3), dtype=np.uint8),
            mask=None,
            height=side,
            width=side,
            seed=number,
            **{name: draw.choice(values) for name, values in TRAFFIC[kind].items()},
        )
        for number in range(count)
    ]


def measure(effort: Effort, watch: Watch) -> Finding:
    """Images per second in turns; the order of the turns rotates from round to round."""
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder) / MODEL)
        registry = Registry.read(ROOT / "infra" / "models.yaml", models_dir=Path(folder))
        card = registry.get(MODEL)
        assert card is not None
        card = card.model_copy(update={"max_batch": LARGEST_BATCH})  # the same for both
        pipelines = WarmPipelines([card], "cpu", load)
        engine = Engine(pipelines, on_device_lost=lambda _error: None)
        engine.start()
        diffusers = Diffusers(card.source)
    try:
        found = _compare(engine, diffusers, effort, watch)
        return replace(found, curves=_step_curves(pipelines.get(MODEL)))
    finally:
        engine.stop()


def _compare(engine: Engine, diffusers: Diffusers, effort: Effort, watch: Watch) -> Finding:
    def ours(samples: list[Sample]) -> list[Pixels]:
        engine.submit(samples)
        return [sample.done.result(PATIENCE).pixels for sample in samples]

    policies = {
        "plain": diffusers.one_at_a_time,
        "exact_key": diffusers.exact_key,
        "ours": ours,
    }
    results: dict[str, Any] = {"threads": torch.get_num_threads()}
    rows: list[Row] = []
    plan = [(*images, kind) for images in effort.engine for kind in TRAFFIC]
    for turn, (side, count, turns, kind) in enumerate(plan):
        name = f"{kind} at {side} px"
        watch(turn / len(plan), f"{name}: {turns} rounds of {count} images")
        for paint in policies.values():  # not counted
            paint(requests(kind, 2, side=side, seed=0))
        before = _counted(engine)
        rounds = [
            _round(policies, requests(kind, count, side=side, seed=number + 1), number)
            for number in range(turns)
        ]
        steps, used, padded = np.subtract(_counted(engine), before)
        results[name] = result = {
            "images": count,
            "images_per_second": {
                clock: {policy: [r[policy][clock] for r in rounds] for policy in policies}
                for clock in ("wall", "cpu")
            },
            "occupancy": used / steps,
            "padding_waste": padded / (used + padded),
            "exact_key_mean_batch": count * len(rounds) / sum(r["batches"] for r in rounds),
            "largest_difference_of_255": max(r["difference"] for r in rounds),
        }
        rows += _rows(name, result)
    results["seconds_alone"] = seconds = _seconds_alone(ours)
    name = f"engine, one image of {SIDE} px, 8 steps: seconds"
    held = median(seconds) <= MOST_SECONDS
    rows.append(Row(name, f"{median(seconds):.2f}", f"at most {MOST_SECONDS:g}", held))
    return Finding(results, rows)


def _step_curves(pipeline: Pipeline) -> dict[str, Curve]:
    """The median of some steps by their samples, while nobody else asks the engine for one."""
    (sample,) = requests("identical", 1, side=SIDE, seed=0)
    pipeline.prepare(sample)
    pipeline.begin(sample)
    points: list[tuple[int, float]] = []
    for rows in range(1, LARGEST_BATCH + 1):
        seconds = []
        for _ in range(STEPS_TIMED):
            with Stopwatch() as watch:
                pipeline.warm_up(sample, rows)
            seconds.append(watch.wall)
        points.append((rows, median(seconds)))
    each = [(rows, rows / seconds) for rows, seconds in points]
    name = f"demo model on this CPU, {SIDE} px"
    return {
        f"{name}: step time": Curve("samples a step", "seconds", {"a step": points}),
        f"{name}: rate": Curve("samples a step", "samples a second", {"a step": each}),
    }


def _seconds_alone(paint: Paint) -> list[float]:
    """Of one image after another, with guidance; the first warms up and does not count."""
    seconds = []
    for seed in range(4):
        (sample,) = requests("identical", 1, side=SIDE, seed=seed)
        sample.strength = 1.0
        with Stopwatch() as watch:
            paint([sample])
        seconds.append(watch.wall)
    return seconds[1:]


def _round(policies: dict[str, Paint], samples: list[Sample], number: int) -> dict[str, Any]:
    names = list(policies)
    turn = number % len(names)
    measured: dict[str, Any] = {"batches": len(exact_batches(samples))}
    painted = {}
    for name in names[turn:] + names[:turn]:
        with Stopwatch() as watch:
            painted[name] = policies[name](samples)
        measured[name] = watch.rates(len(samples))
    ours, plain = (np.array(painted[name], int) for name in ("ours", "plain"))
    return measured | {"difference": int(np.abs(ours - plain).max())}


def _counted(engine: Engine) -> tuple[int, int, float]:
    return engine.steps, engine.rows, REGISTRY.get_sample_value(PADDED) or 0.0


def _rows(name: str, result: dict[str, Any]) -> list[Row]:
    wall, cpu = (result["images_per_second"][clock] for clock in ("wall", "cpu"))
    speeds = " | ".join(f"{policy} {median(rates):.2f}" for policy, rates in wall.items())
    filled = f"{result['occupancy']:.2f} of {LARGEST_BATCH}, {result['padding_waste']:.1%}"
    largest = result["largest_difference_of_255"]
    return [
        Row(f"engine, {name}: images/s", speeds),
        ratio_row("  ours / plain diffusers", wall["ours"], wall["plain"]),
        ratio_row("  ours / plain diffusers, by CPU time", cpu["ours"], cpu["plain"]),
        ratio_row("  ours / exact-key batches", wall["ours"], wall["exact_key"]),
        ratio_row("  ours / exact-key batches, by CPU time", cpu["ours"], cpu["exact_key"]),
        Row("  samples a step, padding", filled),
        Row("  exact key's mean batch", f"{result['exact_key_mean_batch']:.2f}"),
        Row("  largest difference to diffusers, of 255", str(largest), "at most 1", largest <= 1),
    ]
