"""Files of pictures, read back by Pillow."""

import io
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.worker.gpu.pictures import noise, photo
from worker.gpu.encoding import encode

TEXTS = ["a café\nSteps: 8", "eine Straße, 猫 und 🐈\nSteps: 8"]


def opened(data: bytes, name: str) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=[name])
    image.load()
    return image


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (64, 48), (513, 300)])
def test_a_png_is_the_same_picture(size):
    for picture in (noise(size), photo(size)):
        pixels = np.asarray(picture)

        again = opened(encode(pixels), "PNG")

        assert (again.mode, again.size) == ("RGB", size)
        assert np.array_equal(np.asarray(again), pixels)
        assert again.info == {}


def test_pixels_need_not_lie_in_one_piece():
    pixels = np.asarray(noise((64, 64)))[::2, ::-1]

    assert np.array_equal(np.asarray(opened(encode(pixels), "PNG")), pixels)


def test_every_checksum_of_a_png_is_right():
    data, names, position = encode(np.asarray(photo()), text=TEXTS[1]), [], 8

    while position < len(data):
        end = position + 8 + int.from_bytes(data[position : position + 4])
        names.append(data[position + 4 : position + 8])
        assert zlib.crc32(data[position + 4 : end]) == int.from_bytes(data[end : end + 4])
        position = end + 4

    assert names == [b"IHDR", b"iTXt", b"IDAT", b"IEND"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_png_carries_a_text_and_the_same_pixels(text):
    pixels = np.asarray(noise())

    again = opened(encode(pixels, text=text), "PNG")

    assert again.text == {"parameters": text}
    assert np.array_equal(np.asarray(again), pixels)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_other_formats_carry_it_as_a_comment(output_format, text):
    again = opened(encode(np.asarray(photo()), output_format, text=text), output_format)

    comment = again.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert comment.removeprefix(b"UNICODE\0").decode("utf-16-be") == text


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_without_a_text_there_is_no_metadata(output_format):
    again = opened(encode(np.asarray(photo()), output_format), output_format)

    assert not again.getexif()


@pytest.mark.parametrize(("output_format", "usual"), [("jpeg", 95), ("webp", 90)])
def test_quality_is_paid_for_in_bytes(output_format, usual):
    pixels = np.asarray(Image.open("infra/demo/astronaut.jpg").convert("RGB"))

    low, high = (encode(pixels, output_format, quality=quality) for quality in (1, usual))

    assert len(low) < len(high) / 4
    assert encode(pixels, output_format) == high
    difference = np.asarray(opened(high, output_format), int) - pixels
    assert np.abs(difference).mean() < 3
