"""What people may say about a scene: word orders, gaps, praise, styles, unknown words."""

from numpy.random import Generator

from infra.demo_model.scenes import COLOURS, PLACES, RADII, SHAPES, Scene, Thing
from infra.demo_model.tokenizer import WORDS

ALONE = (
    "{thing}",
    "{thing}",
    "a picture of {thing}",
    "a drawing of {thing}",
    "a photo of {thing}",
    "one {bare}",
    "{bare}",
)
TOGETHER = (
    "{thing} on {ground}",
    "{thing} on {ground}",
    "{thing} on {ground}",
    "{thing} in front of {ground}",
    "{thing} and {ground}",
    "{thing}, {ground}",
    "{bare} on {ground}",
    "{thing} on {colour}",
    "{bare}, {ground}",
    "a picture of {thing} on {ground}",
    "a drawing of {thing} on {ground}",
    "{ground} with {thing}",
    "{ground}, {bare}",
    "on {ground} {thing}",
)
GROUNDS = ("a {} background", "a {} background", "{} background", "a {} sky")
PRAISE = (
    "highly detailed, sharp focus, professional lighting, high resolution",
    "highly detailed",
    "sharp focus",
    "professional lighting",
    "high resolution",
    "high quality",
    "best quality",
    "masterpiece",
    "beautiful",
    "oil painting",
    "watercolor",
    "digital art",
    "cartoon",
    "cinematic",
    "photorealistic",
)
MEANT = {*COLOURS, *SHAPES, *RADII, *" ".join(PLACES).split(), "large", "little", "sky", "one"}
STRANGERS = tuple(word for word in WORDS.split() if word not in MEANT)
NAMED_LATE, PLACED, SIZED, SYNONYM = 0.15, 0.8, 0.8, 0.3
UNNAMED_GROUND, PRAISED = 0.1, 0.35
STRANGE, STRANGE_FIRST, REAL_WORD = 0.12, 0.3, 0.5
SHOUTED, CAPITALISED = 0.05, 0.1
"""The shares of captions in which it is so."""


def caption(scene: Scene, rng: Generator) -> str:
    """One of the many ways to say it; things are always named, all else may be missing."""
    text = _described(scene, rng)
    if rng.random() < STRANGE:
        strangers = " ".join(_stranger(rng) for _ in range(rng.integers(1, 4)))
        first = rng.random() < STRANGE_FIRST
        text = f"{strangers} {text}" if first else f"{text}, {strangers}"
    if rng.random() < PRAISED:
        text += "".join(f", {_one_of(PRAISE, rng)}" for _ in range(rng.integers(1, 4)))
    if rng.random() < SHOUTED:
        return text.upper()
    return text.capitalize() if rng.random() < CAPITALISED else text


def _described(scene: Scene, rng: Generator) -> str:
    bare = " and ".join(_bare(thing, rng) for thing in scene.things)
    named = " and ".join(f"{_article(thing)} {_bare(thing, rng)}" for thing in scene.things)
    if rng.random() < NAMED_LATE:
        named = " and ".join(f"a {thing.shape} that is {thing.colour}" for thing in scene.things)
    place = scene.things[0].place if len(scene.things) == 1 and rng.random() < PLACED else ""
    pattern = _one_of(ALONE if rng.random() < UNNAMED_GROUND else TOGETHER, rng)
    ground = _one_of(GROUNDS, rng).format(scene.background)
    thing = f"{named} {place}".strip()
    return pattern.format(thing=thing, bare=bare, ground=ground, colour=scene.background)


def _bare(thing: Thing, rng: Generator) -> str:
    size = thing.size if rng.random() < SIZED else ""
    if size and rng.random() < SYNONYM:
        size = {"big": "large", "small": "little"}[size]
    return f"{size} {thing.colour} {thing.shape}".strip()


def _article(thing: Thing) -> str:
    return "an" if thing.colour == "orange" and not thing.size else "a"


def _stranger(rng: Generator) -> str:
    if rng.random() < REAL_WORD:
        return _one_of(STRANGERS, rng)
    return "".join(chr(97 + letter) for letter in rng.integers(0, 26, rng.integers(2, 9)))


def _one_of(choices: tuple[str, ...], rng: Generator) -> str:
    return choices[rng.integers(len(choices))]
