import random
import struct

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from tests.worker.gpu.pictures import FORMATS, assert_close, encoded, exif, photo, png, progressive
from worker.gpu.images import (
    decode,
)


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_three_formats_are_read(format_name: str):
    image = decode(encoded(photo(), format_name), "init_image")

    assert (image.mode, image.size) == ("RGB", (64, 48))
    assert_close(image.getpixel((10, 40)), (200, 40, 40))
    assert_close(image.getpixel((50, 40)), (40, 40, 200))


def test_an_image_at_the_limits_is_read():
    assert decode(png(8192, 3051, depth=1, colour=0, raw=bytes(1025 * 3051)), "x").width == 8192
    assert decode(png(16, 256, colour=0, raw=bytes(17 * 256)), "x").height == 256
    assert decode(progressive(54), "x").size == (64, 48)


@pytest.mark.parametrize(
    "data",
    [
        encoded(photo().convert("1")),
        encoded(photo().convert("L")),
        encoded(photo().convert("L"), "JPEG"),
        encoded(photo().convert("LA")),
        encoded(photo().convert("P")),
        encoded(photo().convert("P"), transparency=bytes(range(256))),
        encoded(photo().convert("P"), transparency=3),
        encoded(photo(), transparency=(200, 40, 40)),
        encoded(photo().convert("RGBA"), "WEBP", lossless=True),
        encoded(photo().convert("CMYK"), "JPEG"),
        encoded(photo(), "JPEG", progressive=True),
        encoded(photo(), icc_profile=random.Random(0).randbytes(3000)),
        encoded(photo(), "JPEG", icc_profile=random.Random(0).randbytes(3000)),
        encoded(photo()) + b"PK\x03\x04 and more",
        encoded(photo())[:-10],
    ],
)
def test_every_kind_of_pixel_becomes_rgb(data: bytes):
    image = decode(data, "init_image")

    assert (image.mode, image.size) == ("RGB", (64, 48))


def test_colours_of_a_cmyk_jpeg_are_not_inverted():
    image = decode(encoded(photo().convert("CMYK"), "JPEG"), "init_image")

    assert_close(image.getpixel((10, 40)), (200, 40, 40), tolerance=20)


def test_sixteen_bits_are_scaled_and_not_clipped():
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (64, 1))

    pixels = np.asarray(decode(encoded(Image.fromarray(ramp)), "init_image"))

    assert abs(pixels.mean() - 127.5) < 2
    assert (pixels[0, 0, 0], pixels[0, -1, 0]) == (0, 255)
    assert (np.diff(pixels[0, :, 0].astype(int)) >= 0).all()


def test_sixteen_bits_of_colour_are_read():
    row = b"\0" + struct.pack(">HHH", 65535, 32768, 0) * 32

    image = decode(png(32, 32, depth=16, raw=row * 32), "init_image")

    assert image.getpixel((0, 0)) == (255, 128, 0)


def test_what_is_transparent_lies_on_white():
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 16, 32))
    image.putpixel((20, 20), (0, 0, 0, 128))

    flat = decode(encoded(image), "init_image")

    assert flat.getpixel((0, 0)) == (255, 0, 0)
    assert flat.getpixel((31, 0)) == (255, 255, 255)
    assert_close(flat.getpixel((20, 20)), (127, 127, 127), tolerance=1)


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright(format_name: str, orientation: int):
    expected = photo()
    stored = as_stored(expected, orientation)

    image = decode(encoded(stored, format_name, exif=exif(orientation)), "init_image")

    assert image.size == expected.size
    for spot in ((4, 4), (10, 40), (50, 40)):
        assert_close(image.getpixel(spot), expected.getpixel(spot))  # type: ignore[arg-type]


def as_stored(upright: Image.Image, orientation: int) -> Image.Image:
    """How a camera held in this orientation would have stored it."""
    flip, turn = Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose
    steps: dict[int, list[Image.Transpose]] = {
        1: [],
        2: [flip],
        3: [turn.ROTATE_180],
        4: [flip, turn.ROTATE_180],
        5: [turn.ROTATE_90, turn.FLIP_TOP_BOTTOM],
        6: [turn.ROTATE_90],
        7: [turn.ROTATE_270, turn.FLIP_TOP_BOTTOM],
        8: [turn.ROTATE_270],
    }
    for step in steps[orientation]:
        upright = upright.transpose(step)
    return upright


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize(
    "metadata", [exif(99), exif(0), b"Exif\0\0garbage", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"II"]
)
def test_nonsense_in_the_metadata_does_not_spoil_a_picture(format_name: str, metadata: object):
    image = decode(encoded(photo(), format_name, exif=metadata), "init_image")

    assert image.size == (64, 48)
    assert_close(image.getpixel((10, 40)), (200, 40, 40))


def test_no_metadata_is_kept():
    text = PngImagePlugin.PngInfo()
    text.add_text("author", "somebody")

    for data in (
        encoded(photo(), pnginfo=text, exif=exif(1), dpi=(300, 300), icc_profile=b"x" * 200),
        encoded(photo(), "JPEG", exif=exif(1), comment=b"<script>", xmp=b"<x/>"),
    ):
        image = decode(data, "init_image")
        assert image.info == {}
        assert not image.getexif()


def test_of_an_animation_the_first_frame_is_read():
    frames = [Image.new("RGB", (32, 32), (n, 0, 0)) for n in range(0, 250, 10)]

    for name in ("PNG", "WEBP"):
        options = {"lossless": True} if name == "WEBP" else {}
        data = encoded(frames[0], name, save_all=True, append_images=frames[1:], **options)
        assert decode(data, "init_image").getpixel((0, 0)) == (0, 0, 0)


def test_of_a_stereo_picture_the_first_half_is_read():
    data = encoded(photo(), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 48))])

    assert_close(decode(data, "init_image").getpixel((50, 40)), (40, 40, 200))
