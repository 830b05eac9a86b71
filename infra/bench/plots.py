"""Curves as PNG files."""

import re
from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from infra.bench.report import Curve

INCHES = (7.0, 4.5)
DOTS_PER_INCH = 110


def draw(curves: Mapping[str, Curve], beside: Path) -> list[Path]:
    """One file for each, named by the result file and the curve."""
    mpl.use("agg")
    return [_draw(name, curve, beside) for name, curve in curves.items()]


def _draw(name: str, curve: Curve, beside: Path) -> Path:
    figure, axes = plt.subplots(figsize=INCHES, layout="constrained")
    (_bars if curve.bars else _lines)(axes, curve)
    axes.set(title=name, xlabel=curve.x, ylabel=curve.y)
    if curve.logarithmic:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3)
    path = beside.with_name(f"{beside.stem}-{_slug(name)}.png")
    figure.savefig(path, dpi=DOTS_PER_INCH)
    plt.close(figure)
    return path


def _lines(axes: Axes, curve: Curve) -> None:
    for label, points in curve.series.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=label)


def _bars(axes: Axes, curve: Curve) -> None:
    names = list(dict.fromkeys(name for points in curve.series.values() for name, _ in points))
    width = 0.8 / len(curve.series)
    for number, (label, points) in enumerate(curve.series.items()):
        places = [names.index(name) + (number + 0.5) * width - 0.4 for name, _ in points]
        axes.bar(places, [height for _, height in points], width, label=label)
    axes.set_xticks(range(len(names)), names)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
