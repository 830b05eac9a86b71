"""In bf16: our error beside that of plain diffusers, and the same bits for any neighbours.

The reference is plain diffusers in float32, with the same weights and the same random draws.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

from infra.bench.gpu import device
from infra.bench.gpu.models import TINY_SIDE, cases, load_ours
from infra.bench.gpu.plan import Plan
from infra.bench.gpu.traffic import PATIENCE, Plain, running, sample
from infra.bench.report import Finding, Row
from shared.models import Limits
from worker.gpu.samples import Picture, Sample

SIDE = 512
"""Of every model: a reference in float32 takes long."""
BUCKET = 4
MIXED = (
    {"steps": 12, "strength": 0.7, "guidance_scale": 7.5},
    {"steps": 8, "strength": 0.5, "guidance_scale": 4.0},
    {"steps": 10, "strength": 0.9, "guidance_scale": 2.0},
    {"steps": 6, "strength": 1.0, "guidance_scale": 9.0},
)
SCHEDULERS = (
    "DDIMScheduler",
    "EulerDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "EulerAncestralDiscreteScheduler",
)
MOST = 1.25

__all__ = ["cases", "measure"]


class Recorder:
    """A pipeline that keeps what its samples came to, by their numbers."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self.latents: dict[int, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def finish(self, one: Sample) -> Picture:
        """See `Pipeline`."""
        self.latents[one.job_id] = one.denoising.latents[0].cpu()
        picture: Picture = self._pipeline.finish(one)
        return picture


def measure(plan: Plan, case: str) -> Finding:
    """One model after the other fits the card: ours, theirs, the reference."""
    name, form = case.split()
    first, again, elsewhere = ours(plan, name, form)
    device.release(plan)
    theirs, draws = zip(*alone(plan, name), strict=True)
    device.release(plan)
    reference = in_float32(plan, name, draws)
    errors = {
        "ours": [error(first[n], made) for n, made in enumerate(reference)],
        "plain": [error(theirs[n], made) for n, made in enumerate(reference)],
    }
    ratios = [mine / its for mine, its in zip(errors["ours"], errors["plain"], strict=True)]
    results = {
        "errors": errors,
        "ratios": ratios,
        "bits_of_plain": [torch.equal(first[n], made) for n, made in enumerate(theirs)],
        "deterministic": all(torch.equal(first[n], again[n]) for n in first),
        "independent": all(torch.equal(first[n], elsewhere[n]) for n in elsewhere if n in first),
    }
    said = f"{max(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    sizes = "errors " + ", ".join(f"{max(e):.2e} {who}" for who, e in errors.items())
    return Finding(
        results | {"samples": mixed_fields(name)},
        [
            Row(
                f"{case}: error / plain's, worst",
                said,
                f"<= {MOST}",
                all(r <= MOST for r in ratios),
            ),
            Row(f"{case}: largest errors", sizes),
            _yes(f"{case}: same bits beside others", results["independent"]),
            _yes(f"{case}: same bits again", results["deterministic"]),
        ],
    )


def ours(plan: Plan, name: str, form: str) -> list[dict[int, Any]]:
    """Final latents: all together, all again, and the first one behind and beside others."""
    limits = Limits(max_side=1024, multiple=16, default_side=_side(plan))
    recorder = Recorder(load_ours(name, plan, form, limits=limits))
    everyone = range(len(MIXED))
    turns = [everyone, everyone, [7, 6, 0]]
    found = []
    with running(recorder, plan, buckets=(BUCKET,)) as engine:
        for numbers in turns:
            samples = [mixed(plan, name, number) for number in numbers]
            engine.submit(samples)
            for one in samples:
                one.done.result(PATIENCE)
            found.append(dict(recorder.latents))
            recorder.latents.clear()
    return found


def alone(plan: Plan, name: str) -> list[tuple[Any, list[Any]]]:
    """What plain diffusers makes of each, and what it drew for that."""
    plain, made = Plain(name, plan), []
    for number in range(len(MIXED)):
        with drawing() as drawn:
            latents = plain([mixed(plan, name, number)], output_type="latent")[0].cpu()
        made.append((latents, drawn))
    return made


def in_float32(plan: Plan, name: str, draws: Sequence[list[Any]]) -> list[Any]:
    """What plain diffusers makes of the same draws in float32."""
    plain, made = Plain(name, plan, upcast=True), []
    with device.full_float32():
        for number, drawn in enumerate(draws):
            with drawing(drawn):
                latents = plain([mixed(plan, name, number)], output_type="latent")[0].cpu()
            made.append(latents)
    return made


def mixed(plan: Plan, name: str, number: int) -> Sample:
    """A sample of its own steps, strength, guidance, scheduler, prompt, picture and seed."""
    fields = mixed_fields(name)[number % len(MIXED)]
    if plan.tiny:
        fields["steps"] //= 2
    return sample(name, plan, number, side=_side(plan), **fields)


def mixed_fields(name: str) -> list[dict[str, Any]]:
    """What the samples differ in; Flux keeps to its own scheduler."""
    if name == "flux":
        return [dict(fields) for fields in MIXED]
    pairs = zip(MIXED, SCHEDULERS, strict=True)
    return [fields | {"scheduler": scheduler} for fields, scheduler in pairs]


def error(made: Any, reference: Any) -> float:
    """Relative, in the Euclidean norm."""
    return float((made.double() - reference.double()).norm() / reference.double().norm())


@contextmanager
def drawing(given: Sequence[Any] = ()) -> Iterator[list[Any]]:
    """Keep every random draw; or give these again, in the type that is asked for now.

    The same seed draws other numbers in another type.
    """
    draw, drawn, left = torch.randn, list[Any](), list(given)

    def give(*shape: Any, dtype: Any = None, **options: Any) -> Any:
        made = left.pop(0).to(dtype) if given else draw(*shape, dtype=dtype, **options)
        drawn.append(made)
        return made

    with patch.object(torch, "randn", give):
        yield drawn


def _side(plan: Plan) -> int:
    return TINY_SIDE if plan.tiny else SIDE


def _yes(what: str, held: bool) -> Row:
    return Row(what, "yes" if held else "no", "yes", held)
