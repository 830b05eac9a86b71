"""Cases 21 to 39: small files that want much, and broken ones."""

import random
import zlib
from collections.abc import Iterator

from PIL import Image

from tests.e2e.images.case import Case, case
from tests.worker.gpu.pictures import (
    FORMATS,
    chunk,
    encoded,
    jpeg_of_size,
    noise,
    photo,
    png,
    progressive,
    webp_of_size,
)

MANY = "25 megapixels"
DAMAGED = "is damaged"
SIZE = 200 * 2**20


def cases() -> Iterator[Case]:
    """Refused by header or by walking where that tells."""
    yield from _sizes()
    yield from _chunks()
    yield from _broken()


def _sizes() -> Iterator[Case]:
    yield case(21, "30000 x 30000 in one bit", png(30000, 30000, depth=1, colour=0), MANY)
    yield case(22, "13000 x 13000 in colour", png(13000, 13000), MANY)
    yield case(23, "9400 x 9400 with alpha", png(9400, 9400, colour=6), MANY)
    yield case(24, "the largest header", png(2**31 - 1, 2**31 - 1), MANY)
    yield case(25, "a line of 65500", png(65500, 1), "8192 a side")
    yield case(26, "a JPEG that says 65500", jpeg_of_size(65500, 65500), MANY)
    yield case(27, "a JPEG that says 9000", jpeg_of_size(9000, 9000), MANY)
    yield case(28, "a WebP of 34 bytes that says 16383 x 8192", webp_of_size(16383, 8192), MANY)
    yield case(29, "a WebP whose sizes differ", _webp_that_lies(), "init_image")
    yield case(30, "3000 scans", progressive(3000), "more than 64 scans")
    yield case(31, "60 scans", progressive(50))


def _chunks() -> Iterator[Case]:
    text = b"Comment\0\0" + _zeros(SIZE)
    yield case(32, "200 MB of compressed text", _png_with((b"zTXt", text)), DAMAGED)
    profile = b"icc\0\0" + _zeros(SIZE)
    yield case(33, "a colour profile of 200 MB", _png_with((b"iCCP", profile)), DAMAGED)
    some = b"Comment\0\0" + _zeros(2**20)
    yield case(34, "100 texts of a megabyte", _png_with(*[(b"zTXt", some)] * 100), DAMAGED)
    yield case(35, "200000 texts", _png_with(*[(b"tEXt", b"a\0b")] * 200_000), "10000 chunks")
    yield case(36, "pixels that go on for 200 MB", _png_that_goes_on())


def _broken() -> Iterator[Case]:
    whole = png(64, 64, raw=bytes(193 * 64))
    yield case(37, "a wrong sum", whole[:29] + b"\0\0\0\0" + whole[33:], DAMAGED)
    yield case(37, "no width", png(0, 10), "init_image")
    header = whole[8:33]
    yield case(37, "two headers", whole[:33] + header + whole[33:])
    yield case(37, "too few pixels", png(64, 64, raw=bytes(1000)), DAMAGED)
    for name in FORMATS:
        data = encoded(noise(), name)
        yield case(38, f"half a {name}", data[: len(data) // 2], DAMAGED)
        yield case(38, f"the header of a {name}", data[:32], "init_image")
        cut = None if name == "PNG" else DAMAGED
        if name != "JPEG":
            yield case(38, f"a {name} without its last bytes", data[:-10], cut)
        yield Case(
            39,
            f"a {name} with 20 wrong bytes",
            case(39, "", _flipped(name, data)).fields,
            "init_image",
        )


def mutation(name: str, seed: int) -> bytes:
    """An image that a seeded hand has changed, cut or filled up."""
    dice = random.Random(f"{name} {seed}")
    data = bytearray(encoded(photo(), name))
    for _ in range(dice.randint(1, 8)):
        place = dice.randrange(len(data))
        match dice.choice(("flip", "cut", "insert")):
            case "flip":
                data[place] ^= 1 << dice.randrange(8)
            case "cut":
                del data[place : place + dice.randint(1, 16)]
            case "insert":
                data[place:place] = dice.randbytes(dice.randint(1, 16))
        if not data:
            break
    return bytes(data)


def _flipped(name: str, data: bytes) -> bytes:
    """Where the picture's own header is: elsewhere they may only change its colours."""
    start = {"PNG": 33, "JPEG": data.find(b"\xff\xc0"), "WEBP": 20}[name]
    flipped = bytearray(data)
    for place in range(start, start + 20):
        flipped[place] ^= 0xFF
    return bytes(flipped)


def _zeros(size: int) -> bytes:
    return _ZEROS.setdefault(size, zlib.compress(bytes(size), 1))


_ZEROS: dict[int, bytes] = {}


def _png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    data = encoded(photo())
    more = b"".join(chunk(name, body) for name, body in chunks)
    return data[:33] + more + data[33:]


def _png_that_goes_on() -> bytes:
    data = png(16, 16, raw=b"")
    start, end = data[:33], data[-12:]
    return start + chunk(b"IDAT", _zeros(SIZE)) + end


def _webp_that_lies() -> bytes:
    image = encoded(Image.new("RGBA", (64, 64), (1, 2, 3, 4)), "WEBP", exif=b"Exif\0\0II*\0")
    place = image.index(b"VP8X") + 12
    return image[:place] + (8000).to_bytes(3, "little") + image[place + 3 :]
