"""Measures what the demo model makes of its prompts, with the unmodified diffusers pipelines.

`python -m infra.demo_model.evaluate` prints the figures as JSON, and draws prompts x strengths.
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline
from PIL import Image

from infra.demo_model.build import CHECKPOINT
from infra.demo_model.grid import contact_sheet
from infra.demo_model.judge import see
from infra.demo_model.scenes import COLOURS, SHAPES, SIDE, Scene, Thing, draw, random_scene

STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
STEPS = 10
GUIDANCE = 5.0
BATCH = 20
SHOWN = (
    "a blue star on a yellow background",
    "a red heart on a white background",
    "a white moon on a black background",
    "a green square on a pink background",
    "an orange ring on a blue background",
    "a purple triangle on a green background",
)


@dataclass(frozen=True)
class Case:
    """What to begin with, and what to ask for."""

    init: Any
    background: str
    colour: str
    shape: str
    seed: int

    @property
    def prompt(self) -> str:
        """As a customer would say it."""
        article = "an" if self.colour == "orange" else "a"
        return f"{article} {self.colour} {self.shape} on a {self.background} background"

    def unchanged(self) -> "Case":
        """The same beginning, asked for as it is."""
        seen = see(self.init)
        return Case(self.init, seen.background, str(seen.colour), str(seen.shape), self.seed)


def make_cases(count: int, seed: int = 2026) -> list[Case]:
    """From one random scene to the name of another."""
    cases = []
    for n in range(count):
        rng = np.random.default_rng([seed, n])
        background, colour = (str(name) for name in rng.permutation(list(COLOURS))[:2])
        shape = str(rng.choice(list(SHAPES)))
        init = Image.fromarray(draw(random_scene(rng)))
        cases.append(Case(init, background, colour, shape, seed=n))
    return cases


def load(folder: Path = CHECKPOINT) -> Any:
    """The unmodified pipeline in full precision."""
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def paint(pipe: Any, cases: Sequence[Case], **options: Any) -> list[Any]:
    """One image for each case; options of the pipeline, `prompt` and `negative_prompt` for all."""
    options = {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE, **options}
    prompt, negative = options.pop("prompt", None), options.pop("negative_prompt", "")
    images: list[Any] = []
    for at in range(0, len(cases), BATCH):
        part = cases[at : at + BATCH]
        images += pipe(
            [prompt or case.prompt for case in part],
            negative_prompt=[negative] * len(part),
            image=[case.init for case in part],
            generator=[torch.Generator().manual_seed(case.seed) for case in part],
            **options,
        ).images
    return images


def obedience(cases: Sequence[Case], images: Sequence[Any]) -> dict[str, float]:
    """The shares in which the picture's colour, shape, both, and background are as named."""
    pairs = [(case, see(image)) for case, image in zip(cases, images, strict=True)]
    colour = [case.colour == seen.colour for case, seen in pairs]
    shape = [case.shape == seen.shape for case, seen in pairs]
    background = [case.background == seen.background for case, seen in pairs]
    both = np.logical_and(colour, shape)
    held = {"colour": colour, "shape": shape, "both": both, "background": background}
    return {name: round(float(np.mean(values)), 3) for name, values in held.items()}


def likeness(cases: Sequence[Case], images: Sequence[Any]) -> float:
    """The mean PSNR between images and what they began with, in dB."""
    pairs = zip(cases, images, strict=True)
    return round(float(np.mean([psnr(case.init, image) for case, image in pairs])), 2)


def by_strength(pipe: Any, cases: Sequence[Case]) -> dict[float, float]:
    """The likeness at rising strengths."""
    return {s: likeness(cases, paint(pipe, cases, strength=s)) for s in STRENGTHS}


def inpaint(pipe: Any, cases: Sequence[Case]) -> dict[str, float]:
    """Repaint the middle of plain backgrounds: obedience inside, the least PSNR outside, in dB."""
    grounds = [Image.fromarray(draw(Scene((), case.background))) for case in cases]
    mask = Image.new("L", (SIDE, SIDE), 0)
    mask.paste(255, (24, 24, SIDE - 24, SIDE - 24))
    outside = np.asarray(mask) == 0
    painter = StableDiffusionInpaintPipeline(**pipe.components, requires_safety_checker=False)
    painter.set_progress_bar_config(disable=True)
    begun = [replace(case, init=ground) for case, ground in zip(cases, grounds, strict=True)]
    images = paint(painter, begun, mask_image=mask, strength=1.0, height=SIDE, width=SIDE)
    kept = [
        psnr(round_trip(pipe, ground), image, outside)
        for ground, image in zip(grounds, images, strict=True)
    ]
    return obedience(cases, images) | {"least PSNR outside": round(min(kept), 1)}


def round_trip(pipe: Any, image: Any) -> Any:
    """The image through the VAE and back."""
    with torch.inference_mode():
        pixels = pipe.image_processor.preprocess(image)
        decoded = pipe.vae.decode(pipe.vae.encode(pixels).latent_dist.mean).sample
    return pipe.image_processor.postprocess(decoded)[0]


def share_of(colour: str, images: Sequence[Any]) -> float:
    """The share of the images in which the thing has the colour."""
    return round(float(np.mean([see(image).colour == colour for image in images])), 3)


def psnr(one: Any, other: Any, where: Any = ...) -> float:
    """In dB, of pixels from 0 to 255; where: a mask of pixels, or all."""
    difference = np.asarray(one, dtype=float) - np.asarray(other, dtype=float)
    return 10 * math.log10(255**2 / max(np.mean(np.square(difference[where])), 1e-9))


def save_grid(pipe: Any, path: Path) -> None:
    """A row for each prompt: the scene to begin with, then what rising strengths make of it."""
    scene = Scene((Thing("circle", "red", radius=0.3),), "green")
    begun = Image.fromarray(draw(scene))
    cases = [Case(begun, "", "", "", seed=n) for n in range(len(STRENGTHS))]
    images = []
    for prompt in SHOWN:
        images.append(begun)
        for case, strength in zip(cases, STRENGTHS, strict=True):
            images += paint(pipe, [case], prompt=prompt, strength=strength)
    contact_sheet(images, columns=1 + len(STRENGTHS)).save(path)


def measure(pipe: Any, count: int) -> dict[str, Any]:
    """All figures; takes minutes for 200 cases."""
    cases = make_cases(count)
    few = cases[: max(10, count // 4)]
    strong = paint(pipe, cases, strength=1.0)
    same = [case.unchanged() for case in few]
    guided = {g: paint(pipe, few, strength=1.0, guidance_scale=g) for g in (1.0, 2.0, 7.5)}
    shape = {"prompt": "a star on a white background", "strength": 1.0}
    unsaid = paint(pipe, few, **shape)
    favourite = max(COLOURS, key=lambda colour: share_of(colour, unsaid))
    negated = paint(pipe, few, negative_prompt=favourite, **shape)
    return {
        "strength 1.0": obedience(cases, strong),
        "strength 0.8": obedience(cases, paint(pipe, cases, strength=0.8)),
        "PSNR to the init image by strength": by_strength(pipe, few),
        "the same, where the prompt names what is there": by_strength(pipe, same),
        "inpainting": inpaint(pipe, few),
        "obedience by guidance": {g: obedience(few, images) for g, images in guided.items()},
        f"{favourite} without and with it as negative prompt": [
            share_of(favourite, unsaid),
            share_of(favourite, negated),
        ],
    }


def main() -> None:
    """Arguments: how many cases, where the pictures go."""
    count, pictures = int(sys.argv[1]), Path(sys.argv[2])
    pipe = load()
    save_grid(pipe, pictures / "grid.png")
    print(json.dumps(measure(pipe, count), indent=2))


if __name__ == "__main__":
    main()
