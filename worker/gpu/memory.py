"""Memory: how much room there is for models. No torch; `families.memory` has the real one."""

import math
from collections.abc import Iterable
from typing import Protocol

from shared.models import ModelCard


class Memory(Protocol):
    """What loaded models take, and what they may take together."""

    budget: float
    """Bytes."""

    def needs(self, card: ModelCard) -> int:
        """Bytes that the model takes alone; raises `OSError` without its files."""

    def would_add(self, card: ModelCard) -> int:
        """Bytes that loading it adds to what is there now."""

    def held(self, model_ids: Iterable[str]) -> int:
        """Bytes that these models hold; what they share counts once."""

    def give_back(self) -> None:
        """Return to the device what was let go of."""


class Plenty:
    """Memory that nobody counts."""

    budget = math.inf

    def needs(self, card: ModelCard) -> int:  # noqa: ARG002
        """Nothing."""
        return 0

    would_add = needs

    def held(self, model_ids: Iterable[str]) -> int:  # noqa: ARG002
        """Nothing."""
        return 0

    def give_back(self) -> None:
        """Nothing to do."""
