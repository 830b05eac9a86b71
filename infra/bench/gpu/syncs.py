"""Whether a step makes the CPU wait for the device: CUDA's own debug mode says so, and where.

Miniatures do: waiting depends on what is called, not on its size.
"""

import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from infra.bench.gpu.models import ARCHITECTURES, TINY_SIDE, load_ours
from infra.bench.gpu.plan import Plan
from infra.bench.gpu.traffic import sample
from infra.bench.report import Finding, Row
from shared.errors import BadInput
from shared.schedulers import SCHEDULERS
from worker.gpu.families import Pipeline
from worker.gpu.samples import Sample

STEPS = 8
FORMS = ("image", "inpaint")
WAITS = "synchronizing CUDA operation"
OURS = ("diffusers", "worker")
"""Whose lines are worth naming."""


def cases(plan: Plan) -> tuple[str, ...]:
    """The models."""
    return plan.models


def measure(plan: Plan, name: str) -> Finding:
    """Every scheduler that fits, from an image and around a mask."""
    tiny = replace(plan, tiny=True)
    pipeline = load_ours(name, tiny)
    own = ARCHITECTURES[name].scheduler
    names = (own,) if name == "flux" else tuple(SCHEDULERS)[: 1 if plan.tiny else None]
    found = {
        f"{scheduler}, {form}": waits(pipeline, tiny, name, scheduler, form)
        for scheduler in names
        for form in FORMS
    }
    waiting = {what: places for what, places in found.items() if places}
    rows = [
        Row(
            f"{name}: scheduler and form with a wait in a step",
            f"{len(waiting)} of {len(found)}" if plan.is_cuda else "not asked of a CPU",
            "0",
            not waiting if plan.is_cuda else None,
        )
    ]
    blame = Counter(place for places in waiting.values() for place in set(places))
    rows += [Row(f"  {place}", f"in {count}") for place, count in blame.most_common(8)]
    return Finding(found, rows)


def waits(pipeline: Pipeline, plan: Plan, name: str, scheduler: str, form: str) -> list[str]:
    """Where the steps of one sample waited; what is called for the first time may."""
    mask = np.zeros((TINY_SIDE, TINY_SIDE), np.uint8)
    mask[:, TINY_SIDE // 2 :] = 255
    changes = {"scheduler": scheduler, "mask": mask if form == "inpaint" else None}
    found: list[str] = []
    for places in ([], found):
        one = sample(name, plan, 1, steps=STEPS, **changes)
        pipeline.prepare(one)
        try:
            pipeline.begin(one)
        except BadInput as error:
            return [f"cannot run: {error}"]
        _steps(pipeline, plan, one, places)
    return found


def _steps(pipeline: Pipeline, plan: Plan, one: Sample, places: list[str]) -> None:
    while one.step < one.total:
        predictions = _watched(plan, lambda: pipeline.predict([one], 1), places)
        if predictions is None:  # it changes nothing, so it can be asked again, unwatched
            predictions = pipeline.predict([one], 1)
        before = one.step
        _watched(plan, lambda p=predictions[0]: pipeline.advance(one, p), places)
        if one.step == before:  # a scheduler was interrupted, and cannot be asked again
            return


def _watched(plan: Plan, run: Callable[[], Any], places: list[str]) -> Any:
    try:
        with forbidding_waits(plan):
            return run()
    except RuntimeError as error:
        if WAITS not in str(error):
            raise
        places.append(_place(error))
    return None


@contextmanager
def forbidding_waits(plan: Plan) -> Iterator[None]:
    """A wait for the device raises `RuntimeError`."""
    if not plan.is_cuda:
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _place(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    known = [f for f in frames if any(f"/{part}/" in f.filename for part in OURS)]
    last = known[-1]
    return f"{'/'.join(last.filename.split('/')[-2:])}:{last.lineno} {last.line}"
