"""Pictures for tests, good and forged."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw
from PIL.Image import Exif

FORMATS = ["PNG", "JPEG", "WEBP"]


def encoded(image: Image.Image, format_name: str = "PNG", **options: object) -> bytes:
    data = io.BytesIO()
    image.save(data, format_name, **options)  # type: ignore[arg-type]
    return data.getvalue()


def photo(size: tuple[int, int] = (64, 48)) -> Image.Image:
    """Left red, right blue, top brighter than bottom."""
    image = Image.new("RGB", size, (200, 40, 40))
    drawing = ImageDraw.Draw(image)
    drawing.rectangle((size[0] // 2, 0, size[0], size[1]), fill=(40, 40, 200))
    drawing.rectangle((0, 0, size[0], size[1] // 4), fill=(250, 250, 250))
    return image


def noise(size: tuple[int, int] = (64, 64)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, raw: bytes = b"") -> bytes:
    """A PNG that says what we want it to say, whatever it holds."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, data) for name, data in chunks)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def jpeg_of_size(width: int, height: int) -> bytes:
    """A small JPEG whose header claims another size."""
    data = bytearray(encoded(photo(), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def webp_of_size(width: int, height: int) -> bytes:
    pixels = b"\x2f" + struct.pack("<I", (width - 1) | ((height - 1) << 14)) + b"\x88\x88\x08"
    body = b"WEBPVP8L" + struct.pack("<I", len(pixels)) + pixels
    return b"RIFF" + struct.pack("<I", len(body)) + body


def progressive(extra_scans: int, image: Image.Image | None = None) -> bytes:
    """A progressive JPEG (10 scans) with its last scan repeated."""
    data = encoded(image or photo(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * extra_scans + data[-2:]


def assert_close(pixel: object, expected: tuple[int, int, int], tolerance: int = 12) -> None:
    assert isinstance(pixel, tuple)
    assert max(abs(a - b) for a, b in zip(pixel, expected, strict=True)) <= tolerance, pixel


def exif(orientation: object) -> Exif:
    tags = Exif()
    tags[0x0112] = orientation
    tags[0x010E] = "where it was taken"
    return tags
