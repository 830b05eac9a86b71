"""Bytes that a client sent to pixels. With `censor` and `encoding` all that knows Pillow.

What could hurt a decoder is refused before it runs: other formats, sizes, scans, chunks.
"""

import io
import re
import struct

import numpy as np
from PIL import ExifTags, Image
from pydantic import BaseModel, ConfigDict

from shared.errors import BadInput
from shared.images import KINDS, MAX_BYTES, sniff
from shared.models import Limits
from worker.gpu.samples import Pixels

MIN_SIDE = 16
MAX_ASPECT = 16
MAX_SCANS = 64
"""Of a progressive JPEG: every scan costs a pass over all pixels, however few its bytes."""
MAX_PIECES = 10_000
"""Chunks of a PNG, segments and stray bytes of a JPEG: Pillow reads them in Python, one by one."""

MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
START_OF_SCAN, END_OF_IMAGE = 0xDA, 0xD9
LONE_MARKERS = {0x01, 0xD8, END_OF_IMAGE}
"""JPEG markers that no length follows."""
SIXTEEN_BITS = {"I", "I;16", "I;16B", "I;16L"}
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""

BLACK, WHITE = np.uint8(0), np.uint8(255)
WHITE_FROM = 128
"""Grey value from which a mask's pixel counts as white."""


class Bounds(BaseModel):
    """What one image may have at the most."""

    model_config = ConfigDict(frozen=True)

    bytes: int = MAX_BYTES
    pixels: int = 25_000_000
    side: int = 8192


class Wanted(BaseModel):
    """Which pixels a job wants of an image. Of a mask both sides are given."""

    model_config = ConfigDict(frozen=True)

    field: str
    width: int | None = None
    height: int | None = None
    limits: Limits = Limits()
    is_mask: bool = False


BOUNDS = Bounds()


def pixels(data: bytes, wanted: Wanted, bounds: Bounds = BOUNDS) -> Pixels:
    """See `init_pixels` and `mask_pixels`; raises `BadInput` that names the field."""
    if wanted.is_mask:
        assert wanted.width is not None
        assert wanted.height is not None
        return mask_pixels(data, wanted.width, wanted.height, bounds, field=wanted.field)
    image = decode(data, wanted.field, bounds)
    size = target_size(image.size, wanted.width, wanted.height, wanted.limits)
    return init_pixels(image, *size)


def decode(data: bytes, field: str, bounds: Bounds = BOUNDS) -> Image.Image:
    """The picture in RGB, upright, on white, without metadata; of an animation, the first frame.

    Raises `BadInput` that names the field.
    """
    image = _load(data, field, bounds)
    if image.mode == "RGBA":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image).convert("RGB")
    return image


def init_pixels(image: Image.Image, width: int, height: int) -> Pixels:
    """The picture as (height, width, 3), stretched to fit."""
    return np.array(image.resize((width, height), Image.Resampling.LANCZOS))


def mask_pixels(
    data: bytes, width: int, height: int, bounds: Bounds = BOUNDS, *, field: str = "mask_image"
) -> Pixels:
    """A mask as (height, width), 255 where white: to repaint; raises `BadInput`.

    Transparent counts as black. But when all that a mask paints is one colour, drawn on
    transparency, the shape is in its alpha: there opaque counts as white.
    """
    image = _load(data, field, bounds)
    if image.mode != "RGBA":
        grey = image.convert("L")
    elif _is_drawn_in_alpha(image):
        grey = image.getchannel("A")
    else:
        black = Image.new("RGBA", image.size, "black")
        grey = Image.alpha_composite(black, image).convert("L")
    resized = grey.resize((width, height), Image.Resampling.BILINEAR)
    return np.where(np.asarray(resized) >= WHITE_FROM, WHITE, BLACK)


def target_size(
    image_size: tuple[int, int], width: int | None, height: int | None, limits: Limits
) -> tuple[int, int]:
    """The (width, height) to paint: as asked, else the picture's, in whole multiples.

    One side asked: the other keeps the aspect. None: the picture's own size, shrunk to fit.
    """
    own_width, own_height = image_size
    if width is None and height is not None:
        width = height * own_width // own_height
    elif height is None and width is not None:
        height = width * own_height // own_width
    elif width is None or height is None:
        longer = max(own_width, own_height, limits.max_side)
        width = own_width * limits.max_side // longer
        height = own_height * limits.max_side // longer
    return _side(width, limits), _side(height, limits)


def _side(pixels: int, limits: Limits) -> int:
    low = -(-limits.min_side // limits.multiple) * limits.multiple
    return max(low, min(pixels, limits.max_side) // limits.multiple * limits.multiple)


def _load(data: bytes, field: str, bounds: Bounds) -> Image.Image:
    """The picture upright, RGB or RGBA, without metadata."""
    if len(data) > bounds.bytes:
        raise BadInput(f"{field} is larger than {bounds.bytes // 2**20} MiB")
    if (format_name := sniff(data)) is None:
        raise BadInput(f"{field} is not a {KINDS} image")
    if check := {"PNG": _check_png, "JPEG": _check_jpeg}.get(format_name):
        check(data, field)
    if format_name == "WEBP":
        # Its decoder takes the memory for what the header promises as soon as it is made.
        _check_size(_webp_size(data), field, bounds)
    try:
        with Image.open(io.BytesIO(data), formats=[format_name]) as image:
            _check_size(image.size, field, bounds)
            image.load()
            return _plain(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadInput(f"{field} has more than {bounds.pixels // 10**6} megapixels") from error
    except (BadInput, MemoryError):
        raise
    except Exception as error:
        # Pillow's plugins raise what their parsing happens to run into.
        raise BadInput(f"{field} is damaged: it cannot be decoded") from error


def _check_png(data: bytes, field: str) -> None:
    pieces, position = 0, 8
    while position < len(data):
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        pieces += 1
        if pieces > MAX_PIECES:
            raise BadInput(f"{field} has more than {MAX_PIECES} chunks")


def _check_jpeg(data: bytes, field: str) -> None:
    """Walk the markers as libjpeg does: skip segments, and pixels up to the next marker."""
    pieces, scans, position = 0, 0, 2
    while found := MARKER.search(data, position):
        pieces += 1 if scans else 1 + found.start() - position
        if pieces > MAX_PIECES:
            raise BadInput(f"{field} has more than {MAX_PIECES} segments")
        position, marker = found.end(), data[found.end() - 1]
        if marker == END_OF_IMAGE:
            break
        scans += marker == START_OF_SCAN
        if scans > MAX_SCANS:
            raise BadInput(f"{field} has more than {MAX_SCANS} scans")
        if marker not in LONE_MARKERS:
            position += int.from_bytes(data[position : position + 2], "big")
    if scans == 0:
        raise BadInput(f"{field} is damaged: there is no image in it")


def _webp_size(data: bytes) -> tuple[int, int]:
    """As the header says; what has another form is left to the decoder, as the smallest picture."""
    kind, body = data[12:16], int.from_bytes(data[20:30], "little")
    match kind:
        case b"VP8X":
            return (body >> 32 & 0xFFFFFF) + 1, (body >> 56 & 0xFFFFFF) + 1
        case b"VP8L":
            return (body >> 8 & 0x3FFF) + 1, (body >> 22 & 0x3FFF) + 1
        case b"VP8 ":
            return body >> 48 & 0x3FFF, body >> 64 & 0x3FFF
    return MIN_SIDE, MIN_SIDE


def _check_size(size: tuple[int, int], field: str, bounds: Bounds) -> None:
    """What the header promises, before anything of that size is made."""
    short, long = sorted(size)
    dimensions = f"{size[0]}x{size[1]} pixels"
    if long > bounds.side or short * long > bounds.pixels:
        limit = f"at most {bounds.side} a side and {bounds.pixels // 10**6} megapixels"
        raise BadInput(f"{field} has {dimensions}: {limit} are accepted")
    if short < MIN_SIDE:
        raise BadInput(f"{field} has {dimensions}: at least {MIN_SIDE} a side are needed")
    if long > MAX_ASPECT * short:
        raise BadInput(f"{field} has {dimensions}: at most {MAX_ASPECT}:1 is accepted")


def _plain(image: Image.Image) -> Image.Image:
    orientation = _orientation(image)
    if image.mode in SIXTEEN_BITS:
        # Pillow's own conversion clips everything above 255 to white.
        image = Image.fromarray((np.asarray(image, np.uint32) // 257).astype(np.uint8))
    mode = "RGBA" if image.has_transparency_data else "RGB"
    picture = Image.new(mode, image.size)
    picture.paste(image.convert(mode))
    return picture.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else picture


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return None  # nonsense in the metadata does not spoil the picture


def _is_drawn_in_alpha(image: Image.Image) -> bool:
    pixels = np.asarray(image)
    colours, alpha = pixels[..., :3], pixels[..., 3]
    return bool(alpha.min() < WHITE and (colours == colours[0, 0]).all())
