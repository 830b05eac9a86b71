"""What is handed out in place of an unsafe picture: of its size, with nothing to be made out."""

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from shared.jobs import Cover
from worker.gpu.samples import Pixels

TEXT = "Sensitive content"
GROUND, INK = "#303030", "#ffffff"
TEXT_SHARE = 0.8
"""Of the width that the text takes, and of the height that it takes at the most."""
BLUR_SHARE = 1 / 10
"""Radius of the blur, of the longer side: outlines of people are gone."""
BLOCKS = 12
"""On the longer side, after pixelation."""


def censor(pixels: Pixels, cover: Cover) -> Pixels:
    """(height, width, 3) to the same; the original cannot be got back from it."""
    return np.asarray(COVERS[cover](Image.fromarray(pixels)))


def _text(picture: Image.Image) -> Image.Image:
    width, height = picture.size
    sign = Image.new("RGB", picture.size, GROUND)
    left, top, right, bottom = ImageFont.load_default(100).getbbox(TEXT)
    scale = TEXT_SHARE * min(width / (right - left), height / (bottom - top))
    font = ImageFont.load_default(100 * scale)
    ImageDraw.Draw(sign).text((width / 2, height / 2), TEXT, INK, font, anchor="mm")
    return sign


def _blur(picture: Image.Image) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(max(picture.size) * BLUR_SHARE))


def _pixelate(picture: Image.Image) -> Image.Image:
    longer = max(picture.size)
    width, height = (max(1, round(side * BLOCKS / longer)) for side in picture.size)
    mosaic = picture.resize((width, height), Image.Resampling.BOX)
    return mosaic.resize(picture.size, Image.Resampling.NEAREST)


def _black(picture: Image.Image) -> Image.Image:
    return Image.new("RGB", picture.size)


COVERS: dict[Cover, Callable[[Image.Image], Image.Image]] = {
    "sensitive_content_text": _text,
    "blur": _blur,
    "pixelate": _pixelate,
    "black": _black,
}
