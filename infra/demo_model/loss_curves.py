"""The losses of a training as a picture, without a plotting library."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT, MARGIN = 300, 200, 30


def save_loss_curves(curves: dict[str, list[float]], path: Path) -> None:
    """One panel for each: the mean of every fiftieth part of the steps, logarithmic."""
    canvas = Image.new("RGB", (WIDTH * len(curves), HEIGHT), "white")
    pen = ImageDraw.Draw(canvas)
    for n, (name, losses) in enumerate(curves.items()):
        _plot(pen, n * WIDTH, name, losses)
    canvas.save(path)


def _plot(pen: ImageDraw.ImageDraw, left: int, name: str, losses: list[float]) -> None:
    parts = np.array_split(np.array(losses), min(50, len(losses)))
    means = np.array([part.mean() for part in parts])
    low, high = means.min(), means.max()
    across = np.linspace(left + MARGIN, left + WIDTH - MARGIN, len(means))
    span = np.log(high / low) or 1.0
    down = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * np.log(means / low) / span
    pen.line([*zip(across, down, strict=True)], fill="#1f5fbf", width=2)
    pen.text(
        (left + MARGIN, 8), f"{name}: {len(losses)} steps, {high:.3g} to {low:.3g}", fill="black"
    )
    pen.line(
        [(left + MARGIN, HEIGHT - MARGIN), (left + WIDTH - MARGIN, HEIGHT - MARGIN)], fill="grey"
    )
