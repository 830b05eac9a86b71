"""Cases 41 to 66: kinds of pixels, metadata, sizes and masks."""

import random
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms
from PIL.Image import Exif

from tests.e2e.images.case import Case, case, inline
from tests.worker.gpu.pictures import FORMATS, chunk, encoded, exif, noise, photo, png

MASK = {"init_image": inline(encoded(photo()))}


def cases() -> Iterator[Case]:
    """Nearly all are accepted."""
    yield from _pixels()
    yield from _metadata()
    yield from _sizes()
    yield from _masks()


def _pixels() -> Iterator[Case]:
    clear = Image.merge(
        "RGBA", (*photo((256, 64)).split(), Image.linear_gradient("L").resize((256, 64)))
    )
    yield case(41, "every alpha", encoded(clear))
    yield case(42, "grey with alpha", encoded(photo().convert("LA")))
    yield case(
        42, "a palette with alpha", encoded(photo().convert("P"), transparency=bytes(range(256)))
    )
    yield case(43, "one bit", encoded(photo().convert("1")))
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (64, 1))
    yield case(44, "grey of 16 bits", encoded(Image.fromarray(ramp)))
    row = b"\0" + struct.pack(">HHH", 65535, 32768, 0) * 32
    yield case(45, "colours of 16 bits", png(32, 32, depth=16, raw=row * 32))
    yield case(46, "a CMYK JPEG", encoded(photo().convert("CMYK"), "JPEG"))
    yield case(47, "a grey JPEG", encoded(photo().convert("L"), "JPEG"))
    yield case(55, "an interlaced PNG", _interlaced())
    yield case(
        63, "a stereo picture", encoded(photo(), "MPO", save_all=True, append_images=[photo()])
    )


def _metadata() -> Iterator[Case]:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    garbage = random.Random(0).randbytes(3000)
    for number, says, profile in (
        (48, "an sRGB profile", srgb),
        (49, "a profile of noise", garbage),
        (50, "a Lab profile", lab),
    ):
        yield case(number, says, encoded(photo(), icc_profile=profile))
    for name in FORMATS:
        upright = encoded(photo((96, 64)), name, exif=exif(6))
        yield case(51, f"a {name} on its side", upright, size=(64, 96))
    yield case(52, "orientation 99", encoded(photo((96, 64)), "JPEG", exif=exif(99)), size=(96, 64))
    yield case(53, "EXIF of noise", encoded(photo(), "JPEG", exif=b"Exif\0\0" + garbage))
    where = Exif()
    where[0x8825] = {1: "N", 2: (1.0, 2.0, 3.0)}
    yield case(54, "EXIF with a place", encoded(photo(), "JPEG", exif=where))


def _sizes() -> Iterator[Case]:
    yield case(56, "one pixel", png(1, 1), "at least 16")
    yield case(57, "1 x 8000", png(1, 8000), "at least 16")
    yield case(58, "8000 x 8", png(8000, 8), "at least 16")
    yield case(58, "17:1", png(272, 16), "at most 16:1")
    yield case(59, "odd sides", encoded(photo((333, 517))), size=(328, 512))
    large = encoded(photo((4000, 4000)), "JPEG", progressive=True)
    yield case(60, "16 megapixels, progressive", large, size=(768, 768))
    yield case(61, "25 megapixels", png(5000, 5000, colour=0, raw=bytes(5001 * 5000)))
    yield case(61, "a side of 8192", png(8192, 1024, colour=0, raw=bytes(8193 * 1024)))
    yield case(61, "12 MiB", _padded(12 * 2**20))
    yield case(62, "a pixel more", png(5001, 5000), "25 megapixels")
    yield case(62, "a side of 8193", png(8193, 1024), "8192 a side")
    yield case(62, "12 MiB and a byte", _padded(12 * 2**20 + 1), "at most 12 MiB")


def _masks() -> Iterator[Case]:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    clear.paste((255, 255, 255, 255), (0, 0, 32, 32))
    for number, says, mask in (
        (64, "a mask of another size", photo((32, 96)).convert("L")),
        (65, "a black mask", Image.new("L", (64, 64), 0)),
        (65, "a white mask", Image.new("L", (64, 64), 255)),
        (65, "a mask in alpha", clear),
    ):
        yield Case(number, says, MASK | {"mask_image": inline(encoded(mask))})
    broken = inline(encoded(noise())[:500])
    yield Case(65, "half a mask", MASK | {"mask_image": broken}, "mask_image is damaged")
    yield Case(66, "a mask alone", {"mask_image": inline(encoded(photo()))}, "init_image")


def _padded(size: int) -> bytes:
    data = encoded(photo())
    filler = chunk(b"prIv", bytes(size - len(data) - 12))
    return data[:-12] + filler + data[-12:]


def _interlaced() -> bytes:
    """Adam7: seven small pictures, one after another; here all are black."""
    passes = [(8, 8), (8, 8), (16, 8), (16, 16), (32, 16), (32, 32), (64, 32)]
    raw = b"".join((b"\0" + bytes(3 * width)) * height for width, height in passes)
    plain = png(64, 64, raw=raw)
    header = plain[16:28] + b"\x01"
    return plain[:8] + chunk(b"IHDR", header) + plain[33:]
