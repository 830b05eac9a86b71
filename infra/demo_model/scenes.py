"""The demo model's world: one or two plain things on a background, drawn and described in code."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

SIDE = 128
"""Pixels of a picture's side, at which the model is trained."""
COLOURS = {
    "red": (215, 30, 40),
    "orange": (250, 135, 20),
    "yellow": (250, 220, 40),
    "green": (40, 155, 65),
    "blue": (40, 80, 215),
    "purple": (125, 45, 165),
    "pink": (250, 145, 195),
    "white": (245, 245, 245),
    "black": (25, 25, 30),
}
RADII = {"small": (24, 29), "": (30, 37), "big": (39, 46)}
PLACES = {
    "on the left": (0.36, 0.5),
    "on the right": (0.64, 0.5),
    "at the top": (0.5, 0.36),
    "at the bottom": (0.5, 0.64),
    "in the middle": (0.5, 0.5),
}
TWO, PLACED = 0.06, 0.4
"""The shares of scenes with two things, and of things with a named place."""
SUPERSAMPLING = 4
Points = Any
"""Corners around the origin, (n, 2), x to the right and y down; the unit is the radius."""


@dataclass(frozen=True)
class Thing:
    """One object; x, y and radius are fractions of the side, turn is in degrees."""

    shape: str
    colour: str
    size: str = ""
    place: str = ""
    x: float = 0.5
    y: float = 0.5
    radius: float = 0.26
    turn: float = 0.0


@dataclass(frozen=True)
class Scene:
    """Things on a background that gets darker towards an angle, in degrees."""

    things: tuple[Thing, ...]
    background: str
    angle: float = 90.0


def random_scene(rng: Generator) -> Scene:
    """Mostly one thing; no thing has the colour of the background or of the other thing."""
    background, *colours = (str(name) for name in rng.permutation(list(COLOURS))[:3])
    two = rng.random() < TWO
    things = _pair(rng, colours) if two else (_single(rng, colours[0]),)
    return Scene(things, background, angle=float(rng.uniform(0, 360)))


def draw(scene: Scene, side: int = SIDE) -> Any:
    """The picture, (side, side, 3) of uint8, with smooth edges."""
    canvas = _shaded(COLOURS[scene.background], scene.angle, side)
    for thing in scene.things:
        cover = _cover(thing, side)[..., None]
        inside = _shaded(COLOURS[thing.colour], 90.0, side, depth=0.4)
        canvas = canvas * (1 - cover) + inside * cover
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


def _single(rng: Generator, colour: str) -> Thing:
    size = str(rng.choice(list(RADII), p=[0.2, 0.55, 0.25]))
    place = str(rng.choice(list(PLACES))) if rng.random() < PLACED else ""
    radius = rng.uniform(*RADII[size]) / SIDE
    x, y = PLACES[place] if place else rng.uniform(0.4, 0.6, 2)
    room = 0.5 - radius - 0.02
    x, y = (0.5 + np.clip(v - 0.5 + rng.uniform(-0.03, 0.03), -room, room) for v in (x, y))
    return _thing(rng, colour, size=size, place=place, x=float(x), y=float(y), radius=radius)


def _pair(rng: Generator, colours: list[str]) -> tuple[Thing, ...]:
    return tuple(
        _thing(
            rng, colour, x=x, y=float(rng.uniform(0.42, 0.58)), radius=rng.uniform(24, 28) / SIDE
        )
        for colour, x in zip(colours, (0.26, 0.74), strict=True)
    )


def _thing(rng: Generator, colour: str, **where: Any) -> Thing:
    shape = str(rng.choice(list(SHAPES)))
    return Thing(shape, colour, turn=float(rng.uniform(-8, 8)), **where)


def _shaded(colour: tuple[int, ...], angle: float, side: int, depth: float = 1.0) -> Any:
    """The colour, from a little lighter to a little darker."""
    axis = np.linspace(-1, 1, side)
    direction = np.deg2rad(angle)
    slope = axis[None] * np.cos(direction) + axis[:, None] * np.sin(direction)
    slope = (slope * depth / np.sqrt(2))[..., None]
    plain = np.array(colour, dtype=float)
    lighter, darker = 0.22 * (255 - plain), 0.28 * plain
    return plain - np.minimum(slope, 0) * lighter - np.maximum(slope, 0) * darker


def _cover(thing: Thing, side: int) -> Any:
    """How much of each pixel the thing covers, (side, side) from 0 to 1."""
    large = side * SUPERSAMPLING
    mask = Image.new("L", (large, large), 0)
    pen = ImageDraw.Draw(mask)
    turn = np.deg2rad(thing.turn)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    for points, fill in SHAPES[thing.shape]:
        placed = (points @ rotation * thing.radius + (thing.x, thing.y)) * large
        pen.polygon([tuple(point) for point in placed], fill=fill)
    return np.asarray(mask.reduce(SUPERSAMPLING), dtype=np.float32) / 255


def _round(
    corners: int, radius: float = 1.0, turn: float = -90.0, x: float = 0.0, y: float = 0.0
) -> Points:
    angles = np.deg2rad(turn) + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def _star() -> Points:
    corners = np.empty((10, 2))
    corners[::2] = _round(5, 1.1)
    corners[1::2] = _round(5, 0.48, -54.0)
    return corners


def _heart() -> Points:
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x / 16, (-y - 2) / 16], axis=1)


def _cross() -> Points:
    a, b = 1.0, 0.34
    quarter = [(b, -a), (b, -b), (a, -b)]
    turns = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))
    return np.array([(p * x + q * y, r * x + s * y) for p, q, r, s in turns for x, y in quarter])


DISC = _round(72)
SHAPES: dict[str, list[tuple[Points, int]]] = {
    "circle": [(DISC, 255)],
    "square": [(_round(4, 1.2, 45.0), 255)],
    "triangle": [(_round(3, 1.2, y=0.15), 255)],
    "star": [(_star(), 255)],
    "heart": [(_heart(), 255)],
    "cross": [(_cross(), 255)],
    "ring": [(DISC, 255), (_round(72, 0.55), 0)],
    "moon": [(DISC, 255), (_round(72, 0.85, x=0.5), 0)],
}
"""Polygons, one painted over the other: 255 covers, 0 uncovers."""
