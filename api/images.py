"""Images inside a request: an address is kept as one, base64 becomes bytes."""

import base64
import binascii
import string

from shared.images import KINDS, MAX_BYTES, sniff

PLAIN = str.maketrans("-_", "+/", string.whitespace)
WRONG = "must be a URL or a base64 image"


def is_address(image: str) -> bool:
    """Whether it names a place instead of holding an image."""
    return "://" in image[:16]


def decode_base64(image: str, *, most: int = MAX_BYTES) -> bytes:
    """The bytes of bare base64, in either alphabet, or of a data URI.

    Raises ValueError that says what is wrong.

    Only the first bytes are looked at: pixels are a worker's business.
    """
    if not image.isascii():  # the table would be gone through in seconds
        raise ValueError(WRONG)
    text = image.partition(",")[2] if image.startswith("data:") else image
    text = text.translate(PLAIN).rstrip("=")
    if len(text) * 3 // 4 > most:
        raise ValueError(f"must be at most {most // 2**20} MiB")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(WRONG) from None
    if sniff(data) is None:
        raise ValueError(f"must be a {KINDS} image")
    return data
