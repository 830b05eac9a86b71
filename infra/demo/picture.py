"""The demo's pictures."""

import io
from pathlib import Path

from PIL import Image

GAP = 8


def size_of(png: bytes) -> tuple[int, int]:
    """The size of a PNG; raises when it is none."""
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        image.load()
        return image.size


def save_before_after(before: Path, results: list[bytes], target: Path) -> None:
    """The photo and what was made of it, side by side at one height."""
    afters = [Image.open(io.BytesIO(png)).convert("RGB") for png in results]
    height = afters[0].height
    with Image.open(before) as photo:
        scaled = photo.convert("RGB").resize((photo.width * height // photo.height, height))
    images = [scaled, *afters]
    width = sum(image.width for image in images) + GAP * (len(images) - 1)
    canvas = Image.new("RGB", (width, height), "white")
    left = 0
    for image in images:
        canvas.paste(image, (left, 0))
        left += image.width + GAP
    canvas.save(target)
