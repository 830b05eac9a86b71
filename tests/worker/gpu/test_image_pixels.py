import random

import numpy as np
import pytest
from PIL import Image

from shared.errors import BadInput
from shared.models import Limits
from tests.worker.gpu.pictures import assert_close, encoded, noise, photo
from worker.gpu.images import (
    init_pixels,
    mask_pixels,
    target_size,
)


def test_the_picture_is_stretched_to_the_size_of_the_output():
    pixels = init_pixels(photo(), 32, 16)

    assert (pixels.shape, pixels.dtype) == ((16, 32, 3), np.uint8)
    assert pixels.flags.writeable
    assert_close(tuple(int(value) for value in pixels[12, 2]), (200, 40, 40))


@pytest.mark.parametrize(
    ("image", "width", "height", "expected"),
    [
        ((640, 480), 512, 768, (512, 768)),
        ((640, 480), 515, 519, (512, 512)),
        ((640, 480), None, None, (640, 480)),
        ((333, 517), None, None, (328, 512)),
        ((4000, 3000), None, None, (1024, 768)),
        ((3000, 4000), None, None, (768, 1024)),
        ((16, 16), None, None, (64, 64)),
        ((1600, 100), None, None, (1024, 64)),
        ((4000, 3000), 512, None, (512, 384)),
        ((4000, 3000), None, 512, (680, 512)),
        ((100, 1600), 512, None, (512, 1024)),
        ((1600, 100), 128, None, (128, 64)),
    ],
)
def test_the_size_is_as_asked_or_else_the_pictures(
    image: tuple[int, int], width: int | None, height: int | None, expected: tuple[int, int]
):
    assert target_size(image, width, height, Limits(max_side=1024)) == expected


def test_sizes_are_multiples_within_the_limits_whatever_comes_in():
    dice = random.Random(0)
    limits = Limits(min_side=100, max_side=1000, multiple=64)

    for _ in range(1000):
        asked = [dice.choice([None, dice.randint(1, 3000)]) for _ in range(2)]
        size = target_size((dice.randint(16, 8192), dice.randint(16, 8192)), *asked, limits)
        assert all(128 <= side <= 960 and side % 64 == 0 for side in size)


def half(mode: str, left: object, right: object) -> Image.Image:
    image = Image.new(mode, (64, 64), left)  # type: ignore[arg-type]
    image.paste(right, (32, 0, 64, 64))  # type: ignore[arg-type]
    return image


@pytest.mark.parametrize(
    "mask",
    [
        half("1", 0, 1),
        half("L", 127, 128),
        half("RGB", (0, 0, 0), (255, 255, 255)),
        half("RGBA", (0, 0, 0, 255), (255, 255, 255, 255)),
        half("RGBA", (255, 255, 255, 0), (255, 255, 255, 255)),
        half("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)),
        half("RGBA", (0, 0, 0, 0), (255, 255, 255, 255)),
        half("RGBA", (255, 255, 255, 10), (254, 255, 255, 250)),
        half("LA", (0, 0), (255, 255)),
    ],
    ids=[
        "1",
        "L",
        "RGB",
        "opaque",
        "white strokes",
        "black strokes",
        "strokes on clear black",
        "nearly one colour",
        "LA",
    ],
)
def test_white_is_repainted_however_the_mask_was_drawn(mask: Image.Image):
    pixels = mask_pixels(encoded(mask), 32, 16)

    assert (pixels.shape, pixels.dtype) == ((16, 32), np.uint8)
    assert (pixels[:, :15] == 0).all()
    assert (pixels[:, 17:] == 255).all()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize(("colour", "value"), [("black", 0), ("white", 255)])
def test_a_mask_of_one_colour_is_a_mask(mode: str, colour: str, value: int):
    assert (mask_pixels(encoded(Image.new(mode, (64, 64), colour)), 32, 32) == value).all()


def test_a_mask_is_black_and_white_after_resizing():
    assert set(np.unique(mask_pixels(encoded(noise(), "JPEG"), 200, 99))) == {0, 255}


def test_a_bad_mask_is_named():
    with pytest.raises(BadInput, match=r"^mask_image is not a PNG, JPEG or WebP image$"):
        mask_pixels(b"", 32, 32)
