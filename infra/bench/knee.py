"""How many images a step should have at most: the knee of a model's step-time curve."""

from collections.abc import Mapping

NEAR = 0.95
"""Of the best rate: beyond, more images in a step gain little and slow each other down."""
MOST = 16
"""Images: as many as a worker has jobs in flight, by its default."""


def knee(step_seconds: Mapping[int, float]) -> int:
    """The smallest batch whose images a second come near the best; seconds of a step by images."""
    rates = {n: n / seconds for n, seconds in step_seconds.items() if n <= MOST}
    return min(n for n, rate in rates.items() if rate >= NEAR * max(rates.values()))
