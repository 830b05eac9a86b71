"""Cases 1 to 20: what is no image, images of other formats, and animations."""

import gzip
import random
from collections.abc import Iterator

from PIL import Image

from tests.e2e.images.case import Case, case
from tests.worker.gpu.pictures import encoded, photo

WRONG = "must be a PNG, JPEG or WebP image"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="http://127.0.0.1:%d/"/></svg>'
OTHERS = ("BMP", "TIFF", "TGA", "PCX", "SGI", "PPM")


def cases(canary_port: int) -> Iterator[Case]:
    """Where an SVG is not left alone, it calls the canary."""
    yield Case(1, "nothing", {"init_image": "data:image/png;base64,"}, WRONG)
    yield case(2, "one byte", b"\x89", WRONG)
    yield case(3, "random bytes", random.Random(0).randbytes(4096), WRONG)
    yield case(4, "zeros", bytes(4096), WRONG)
    yield case(5, "a page", b"<!doctype html><html><body>404</body></html>", WRONG)
    yield case(6, "an SVG that fetches", SVG % canary_port, WRONG)
    svg = case(7, "an SVG that says it is a PNG", SVG % canary_port).fields["init_image"]
    yield Case(
        7, "an SVG that says it is a PNG", {"init_image": f"data:image/png;base64,{svg}"}, WRONG
    )
    yield case(8, "PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", WRONG)
    yield case(9, "a PDF", b"%PDF-1.7\n1 0 obj\n", WRONG)
    yield case(10, "a PDF's header before a PNG", b"%PDF-1.7\n" + encoded(photo()), WRONG)
    yield case(11, "a script in a comment", encoded(photo(), "JPEG", comment=b"<script>"))
    yield case(12, "an archive behind a PNG", encoded(photo()) + b"PK\x03\x04" + bytes(500))
    yield from _other_formats()
    yield from _animations()


def _other_formats() -> Iterator[Case]:
    yield case(13, "a compressed PNG", gzip.compress(encoded(photo())), WRONG)
    for name in OTHERS:
        yield case(14, f"a {name}", encoded(photo(), name), WRONG)
    yield case(14, "an IM", b"Image type: RGB image\r\n" + bytes(500), WRONG)
    for name in ("ICO", "ICNS", "DDS"):
        yield case(15, f"an {name}", encoded(photo(), name), WRONG)
    xbm = b"#define x_width 60000\n#define x_height 60000\nstatic char x_bits[] = {0x00};\n"
    yield case(15, "an XBM of 60000 x 60000", xbm, WRONG)
    for name in ("JPEG2000", "AVIF"):
        yield case(16, f"a {name}", encoded(photo(), name), WRONG)
    yield case(16, "an HEIC", b"\0\0\0\x18ftypheic" + bytes(200), WRONG)


def _animations() -> Iterator[Case]:
    yield case(17, "a GIF", encoded(photo(), "GIF"), WRONG)
    frames = [Image.new("RGB", (64, 64), (n % 256, n // 2, 0)) for n in range(500)]
    moving = {"save_all": True, "append_images": frames[1:]}
    yield case(18, "a GIF of 500 frames", encoded(frames[0], "GIF", **moving), WRONG)
    yield case(19, "an animated PNG of 500 frames", encoded(frames[0], **moving))
    moving["append_images"] = frames[1:20]
    yield case(20, "an animated WebP", encoded(frames[0], "WEBP", **moving))
