"""Tells, without any learning, which colour and shape the one thing in a picture has."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from infra.demo_model.scenes import COLOURS, SHAPES, Scene, Thing, draw

FRAME = 5
"""Pixels along each edge that count as background."""
APART = 60.0
"""The distance in RGB from which on a pixel is not background."""
LEAST = 0.01
"""The share of the picture that a thing has."""
HALF = 127
TEMPLATE = 32
TURNS = (-8.0, 0.0, 8.0)


@dataclass(frozen=True)
class Seen:
    """`None` where there is no thing."""

    background: str
    colour: str | None
    shape: str | None


def see(picture: Any) -> Seen:
    """What is in the picture, (side, side, 3) from 0 to 255."""
    picture = np.asarray(picture, dtype=float)
    ground = _ground(picture)
    background = _nearest_colour(ground[::8, ::8].reshape(-1, 3))
    from_ground = np.linalg.norm(picture - ground, axis=2)
    if (from_ground > APART).mean() < LEAST:
        return Seen(background, None, None)
    colour = np.median(picture[from_ground > APART], axis=0)
    thing = np.linalg.norm(picture - colour, axis=2) < from_ground
    return Seen(background, _nearest_colour(picture[thing]), _nearest_shape(thing))


def _ground(picture: Any) -> Any:
    """The background behind the thing: a plane through the colours of the frame."""
    side = len(picture)
    rows, columns = np.mgrid[0:side, 0:side] / side
    inside = np.zeros((side, side), dtype=bool)
    inside[FRAME:-FRAME, FRAME:-FRAME] = True
    plane = np.stack([rows, columns, np.ones_like(rows)], axis=2)
    slopes = np.linalg.lstsq(plane[~inside], picture[~inside], rcond=None)[0]
    return plane @ slopes


def _nearest_colour(pixels: Any) -> str:
    off = np.linalg.norm(np.array(list(COLOURS.values())) - np.median(pixels, axis=0), axis=1)
    return list(COLOURS)[off.argmin()]


def _nearest_shape(mask: Any) -> str:
    seen = _normalised(mask)
    overlaps = {
        shape: max((seen & known).sum() / (seen | known).sum() for known in templates)
        for shape, templates in _templates().items()
    }
    return max(overlaps, key=overlaps.__getitem__)


@cache
def _templates() -> dict[str, list[Any]]:
    def mask(shape: str, turn: float) -> Any:
        scene = Scene((Thing(shape, "white", turn=turn, radius=0.36),), "black")
        return draw(scene).mean(axis=2) > HALF

    return {shape: [_normalised(mask(shape, turn)) for turn in TURNS] for shape in SHAPES}


def _normalised(mask: Any) -> Any:
    """The thing alone, in the middle of a square of one size."""
    rows, columns = np.nonzero(mask)
    (top, bottom), (left, right) = (
        np.percentile(rows, (0.5, 99.5)),
        np.percentile(columns, (0.5, 99.5)),
    )
    half = max(bottom - top, right - left) / 2 + 1
    y, x = (top + bottom) / 2, (left + right) / 2
    box = (x - half, y - half, x + half, y + half)
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    small = image.resize(
        (TEMPLATE, TEMPLATE), Image.Resampling.BOX, box=_within(box, mask.shape[0])
    )
    return np.asarray(small) > HALF


def _within(box: tuple[float, ...], side: int) -> tuple[float, ...]:
    return tuple(float(np.clip(edge, 0, side)) for edge in box)
