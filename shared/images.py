"""What may be an image, before anyone decodes it."""

MAX_BYTES = 12 * 2**20
"""Of one image, however it comes."""
KINDS = "PNG, JPEG or WebP"
CONTENT_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


def sniff(data: bytes) -> str | None:
    """`PNG`, `JPEG` or `WEBP` by the first bytes; None for anything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None
