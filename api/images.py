"""Images inside a request: an address is kept as one, base64 becomes bytes."""

import base64
import binascii
from collections.abc import Callable

SIGNATURES: tuple[Callable[[bytes], bool], ...] = (
    lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    lambda head: head.startswith(b"\xff\xd8\xff"),
    lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
)


def is_address(image: str) -> bool:
    """Whether it names a place instead of holding an image."""
    return "://" in image[:16]


def decode_base64(image: str, most: int) -> bytes:
    """The bytes of bare base64 or of a data URI; raises ValueError that says what is wrong.

    Only the first bytes are looked at: pixels are a worker's business.
    """
    text = image.partition(",")[2] if image.startswith("data:") else image
    if len(text) * 3 // 4 > most + 3:
        raise ValueError(f"must be at most {most // 2**20} MB")
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be a URL or a base64 image") from None
    if not any(matches(data) for matches in SIGNATURES):
        raise ValueError("must be a PNG, JPEG or WebP image")
    return data
