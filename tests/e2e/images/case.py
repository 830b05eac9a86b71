"""One bad, or merely odd, input of the battery."""

import base64
from dataclasses import dataclass, field
from typing import Any

PHOTO_SIZE = (64, 64)


@dataclass(frozen=True)
class Case:
    """What is sent, and what must come of it."""

    number: int
    """Cases of one kind share it."""
    says: str
    fields: dict[str, Any]
    refused: str | None = None
    """What the refusal must say; None: it is accepted."""
    size: tuple[int, int] | None = field(default=None)
    """Of the output, where no size is asked for."""

    def __str__(self) -> str:
        return f"{self.number}: {self.says}"


def inline(data: bytes) -> str:
    """An image as a request holds it."""
    return base64.b64encode(data).decode()


def case(number: int, says: str, data: bytes, refused: str | None = None, **options: Any) -> Case:
    """A case of an inline init image."""
    return Case(number, says, {"init_image": inline(data)}, refused, **options)
