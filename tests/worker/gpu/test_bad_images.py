import gzip
import random
import time
from contextlib import suppress

import pytest

from shared.errors import BadInput
from tests.worker.gpu.pictures import (
    FORMATS,
    chunk,
    encoded,
    exif,
    jpeg_of_size,
    noise,
    photo,
    png,
    progressive,
    webp_of_size,
)
from worker.gpu.images import (
    MAX_BYTES,
    decode,
)


def refusal(data: bytes) -> str:
    with pytest.raises(BadInput, match=r"^init_image ") as refused:
        decode(data, "init_image")
    return refused.value.message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89",
        random.Random(0).randbytes(4096),
        bytes(4096),
        b"<!doctype html><html></html>",
        b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1/"/></svg>',
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n",
        b"%PDF-1.7\n" + encoded(photo()),
        gzip.compress(encoded(photo())),
        *(encoded(photo(), name) for name in ("BMP", "GIF", "TIFF", "TGA", "ICO", "PPM", "PCX")),
        encoded(photo(), "JPEG2000"),
        encoded(photo(), "AVIF"),
        b"RIFF\x10\0\0\0WAVEfmt ",
    ],
)
def test_other_formats_are_refused_by_their_first_bytes(data: bytes):
    assert refusal(data) == "init_image is not a PNG, JPEG or WebP image"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (bytes(MAX_BYTES + 1), "larger than 12 MiB"),
        (png(30000, 30000, depth=1, colour=0), "megapixels"),
        (png(13000, 13000), "megapixels"),
        (png(9400, 9400, colour=6), "megapixels"),
        (png(2**31 - 1, 2**31 - 1), "megapixels"),
        (png(8193, 1000), "8193x1000 pixels"),
        (png(5001, 5000), "5001x5000 pixels"),
        (png(65500, 1), "65500x1 pixels"),
        (jpeg_of_size(65500, 65500), "megapixels"),
        (jpeg_of_size(9000, 9000), "9000x9000 pixels"),
        (webp_of_size(16383, 8192), "megapixels"),
        (png(1, 1), "at least 16"),
        (png(15, 64), "at least 16"),
        (png(16, 257), "at most 16:1"),
        (png(8000, 400), "at most 16:1"),
        (progressive(3000), "more than 64 scans"),
        (progressive(60), "more than 64 scans"),
        (png(64, 64)[:8] + chunk(b"tEXt", b"a\0b") * 10_001, "more than 10000 chunks"),
        (b"\xff\xd8" + b"\xff\xfe\0\2" * 10_001 + progressive(0)[2:], "more than 10000 segments"),
        (b"\xff\xd8" + b"\xff" * 10_001 + progressive(0)[2:], "more than 10000 segments"),
    ],
)
def test_what_would_hurt_is_refused_before_it_is_decoded(data: bytes, why: str):
    began = time.process_time()

    assert why in refusal(data)

    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_off_image_is_refused(format_name: str, share: float):
    data = encoded(noise(), format_name)

    assert "init_image is" in refusal(data[: int(len(data) * share)])


@pytest.mark.parametrize(
    "data",
    [
        png(0, 10),
        png(64, 64, depth=3),
        png(64, 64, raw=b"short"),
        png(64, 64)[:16] + b"\xff\xff" + png(64, 64)[18:],
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8" + b"\xff" * 10_000_000,
        b"RIFF\x04\0\0\0WEBP",
    ],
    ids=["no width", "depth 3", "no pixels", "bad sum", "start", "empty", "fill bytes", "no frame"],
)
def test_a_broken_image_is_refused_quickly(data: bytes):
    began = time.process_time()

    refusal(data)

    assert time.process_time() - began < 1


@pytest.mark.parametrize("format_name", FORMATS)
def test_whatever_is_damaged_the_only_error_is_bad_input(format_name: str):
    data, dice = encoded(photo(), format_name, exif=exif(6)), random.Random(0)

    for _ in range(150):
        damaged = bytearray(data)
        for _ in range(dice.randint(1, 20)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        with suppress(BadInput):
            assert decode(bytes(damaged), "init_image").mode == "RGB"
