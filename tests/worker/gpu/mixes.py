"""Random requests to models of every family, and an engine that they meet in."""

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any, NamedTuple

from shared.models import Limits, ModelCard
from shared.schedulers import ALGORITHM, CHOICES, KARRAS, SCHEDULERS, Choice
from tests.worker.gpu.fakes import Recorder, make_sample
from tests.worker.gpu.plain import EXACT, Plain, difference, picture, ragged_mask
from worker.gpu.engine import Engine
from worker.gpu.families import Pipeline
from worker.gpu.pipelines import WarmPipelines
from worker.gpu.samples import Sample

Request = dict[str, Any]
"""What a sample is made of, so that it can be made again."""
Upset = Callable[[Sequence[Sample]], None]

SECONDS = 300
MODELS = {
    "sd": ("image", "mask", "text"),
    "sd-v": ("image", "mask", "text"),
    "sd-inpainting": ("mask",),
    "sdxl": ("image", "mask", "text"),
    "sdxl-inpainting": ("mask",),
    "sdxl-refiner": ("image", "mask"),
    "flux-dev": ("image", "mask", "text"),
    "flux-schnell": ("image", "mask", "text"),
}
"""What each is asked for."""
SIZES = ((64, 64), (64, 96), (80, 64), (48, 112))
"""(height, width): all that Flux takes too."""
PROMPTS = ("a cat", "a dog in the snow", "", "oil painting, a castle by the sea")
RARE_PROMPTS = ("a (red cat:1.4) by the [sea]", "a ship at sea " * 30, "((snow)) " * 80, "a \\( b")
NEGATIVES = ("blurry", "", "ugly")
RARE_NEGATIVES = ("ugly, (grey:1.2)", "noise " * 90)
RARELY = 0.1
MASKED = 1 / 3
MOST_STEPS = 12
SPREADS = 2.0
"""Where rounding is amplified, a sample may be so many times as far away as diffusers itself."""
LATEST = 6
"""Forwards of others before the last one comes."""


def family_of(model: str) -> Any:
    """By its name."""
    return model.partition("-")[0]


def card_of(model: str, folder: Any, dtype: Any = "float32") -> ModelCard:
    """The model's line of the allow-list."""
    limits = Limits(multiple=16, min_side=64)
    family = family_of(model)
    return ModelCard(model_id=model, family=family, source=folder, dtype=dtype, limits=limits)


def ways_to_set(name: str) -> list[Choice]:
    """The scheduler as it is, and with each of its options that a request can reach."""
    taken = SCHEDULERS[name]
    ways = [Choice(name)]
    ways += [Choice(name, {KARRAS: on}) for on in (True, False) if KARRAS in taken]
    kinds = ("dpmsolver++", "sde-dpmsolver++")
    ways += [Choice(name, {ALGORITHM: kind}) for kind in kinds if ALGORITHM in taken]
    several = [choice for choice in CHOICES.values() if len(choice.options) > 1]
    return ways + [choice for choice in several if choice.name == name]


def mix(number: int) -> list[Request]:
    """The requests of one mix, two crowds: the same for the same number."""
    draw = random.Random(number)
    return [request for _ in range(2) for request in crowd(draw)]


def crowd(draw: random.Random) -> list[Request]:
    """Requests that can share steps, most of them."""
    model, size = draw.choice(list(MODELS)), draw.choice(SIZES)
    plain = [form for form in MODELS[model] if form != "mask"]
    masked = not plain or ("mask" in MODELS[model] and draw.random() < MASKED)
    forms = ["mask"] if masked else plain
    return [request(draw, model, draw.choice(forms), size) for _ in range(draw.randint(4, 6))]


def request(draw: random.Random, model: str, form: str, size: tuple[int, int]) -> Request:
    """One of them."""
    height, width = size
    choice = draw.choice(ways_to_set(draw.choice(list(SCHEDULERS))))
    seed = draw.randrange(2**32)
    unguided = draw.random() < RARELY
    return {
        "model_id": model,
        "prompt": draw.choice(RARE_PROMPTS if draw.random() < RARELY else PROMPTS),
        "negative_prompt": draw.choice(RARE_NEGATIVES if draw.random() < RARELY else NEGATIVES),
        "image": None if form == "text" else picture(seed, max(size))[:height, :width],
        "mask": ragged_mask(*size) if form == "mask" else None,
        "height": height,
        "width": width,
        "steps": draw.randint(1, MOST_STEPS),
        "strength": draw.choice((0.0, 1.0, 1.0, *(draw.random() for _ in range(5)))),
        "guidance_scale": draw.choice((0.0, 1.0)) if unguided else draw.uniform(1, 20),
        "scheduler": choice.name,
        "scheduler_options": choice.options,
        "clip_skip": draw.choice((None, None, None, 1)),
        "seed": seed,
        "distilled": family_of(model) == "flux",
    }


def strangers(draw: random.Random, requests: Sequence[Request]) -> list[Request]:
    """Others that share steps with some of these."""
    return [
        each
        | {"seed": each["seed"] ^ 1, "prompt": "a stranger", "steps": draw.randint(1, MOST_STEPS)}
        for each in draw.sample(requests, len(requests) // 2)
    ]


class Played(NamedTuple):
    """What became of a request."""

    sample: Sample
    latents: Any
    """None for one that did not end well."""


@dataclass(frozen=True)
class Verdict:
    """How far a sample is from what diffusers makes of it alone, relative to the largest value."""

    sample: Sample
    error: float
    spread: float | None
    """Of diffusers itself, as `Plain.spread` has it; None where the error says enough."""

    @property
    def is_exact(self) -> bool:
        """Whether it is that sample, but for rounding."""
        return self.error <= max(EXACT, SPREADS * (self.spread or 0.0))

    def __str__(self) -> str:
        s = self.sample
        form = "text" if s.image is None else "image" if s.mask is None else "mask"
        spread = "" if self.spread is None else f", diffusers in batches {self.spread:.1e}"
        return (
            f"{s.model_id} {form} {s.scheduler} {s.scheduler_options} steps={s.steps} "
            f"strength={s.strength:.3f} guidance={s.guidance_scale:.2f} clip_skip={s.clip_skip} "
            f"prompt={s.prompt[:20]!r} negative={s.negative_prompt[:20]!r} "
            f"{s.width}x{s.height}: {self.error:.1e}{spread}"
        )


def judge(plain: Plain, played: Played) -> Verdict:
    """Compare the sample with diffusers alone; raises what made it fail."""
    sample, latents = played
    sample.done.result()
    error = difference(latents[0], plain.alone(sample))
    return Verdict(sample, error, None if error <= EXACT else plain.spread(sample))


def wait_for(samples: Sequence[Sample]) -> None:
    """Until all have ended, however."""
    assert not wait([sample.done for sample in samples], SECONDS).not_done


class Stage:
    """A started engine with models loaded, that remembers what its samples came to."""

    def __init__(self, pipelines: Mapping[str, Pipeline], **options: Any) -> None:
        self._recorders = {model: Recorder(pipeline) for model, pipeline in pipelines.items()}
        self.engine = Engine(
            WarmPipelines(
                [pipeline.card for pipeline in pipelines.values()],
                "cpu",
                lambda card, _: self._recorders[card.model_id],
            ),
            on_device_lost=lambda error: None,
            **options,
        )
        self.engine.start()

    def play(
        self, requests: Sequence[Request], draw: random.Random, upset: Upset = lambda _: None
    ) -> list[Played]:
        """Run them all, in an order and from steps on that are drawn.

        `upset` sees the samples of every forward first, and may raise.
        """
        samples = [make_sample(**each) for each in requests]
        coming = draw.sample(samples, len(samples))
        due = sorted(max(0, draw.randint(-LATEST, LATEST)) for _ in samples)
        forwards = 0

        def join() -> None:
            count = bisect_right(due, forwards)
            joining = coming[:count]
            del due[:count], coming[:count]
            self.engine.submit(joining)

        def before(together: Sequence[Sample]) -> None:
            nonlocal forwards
            forwards += 1
            join()
            upset(together)

        for recorder in self._recorders.values():
            recorder.before = before
        while coming:
            forwards = max(forwards, due[0])  # the others may have ended before
            join()
            while running := [s for s in samples if s not in coming and not s.done.done()]:
                wait_for(running)
        wait_for(samples)
        latents = {s: kept for r in self._recorders.values() for s, kept in r.latents.items()}
        for recorder in self._recorders.values():
            recorder.latents.clear()
        return [Played(sample, latents.get(sample)) for sample in samples]
