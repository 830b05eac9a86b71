"""Pictures of pictures."""

from collections.abc import Sequence
from typing import Any

from PIL import Image

GAP = 4


def contact_sheet(images: Sequence[Any], *, columns: int) -> Any:
    """Images of one size, row by row on white."""
    width, height = images[0].size
    rows = -(-len(images) // columns)
    size = (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP)
    sheet = Image.new("RGB", size, "white")
    for n, image in enumerate(images):
        sheet.paste(image, (n % columns * (width + GAP), n // columns * (height + GAP)))
    return sheet
