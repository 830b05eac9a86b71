"""What is measured, how thoroughly, and until when."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from infra.bench.report import Finding

EAGER, COMPILED = "eager", "compiled"


@dataclass(frozen=True)
class Plan:
    """The settings of one run."""

    device: str = "cuda"
    tiny: bool = False
    """Miniatures of the architectures, and figures that mean nothing: only whether it runs."""
    models: tuple[str, ...] = ("sd15", "sdxl", "flux")
    forms: tuple[str, ...] = (EAGER, COMPILED)
    """Of our own denoiser, where the worker can compile it."""
    batches: tuple[int, ...] = (1, 2, 4, 8, 16)
    repeats: int = 20
    rounds: int = 3
    thinned: int = 1
    """Only every so many of the images of a round."""
    compile_mode: str = "default"
    """Of torch.compile, for the compiled form."""
    until: float = float("inf")
    """On the monotonic clock: no further case or round begins after it."""

    @property
    def is_late(self) -> bool:
        """Whether the time of this part is over."""
        return time.monotonic() >= self.until

    @property
    def is_cuda(self) -> bool:
        """Whether there is a device to be asked for its clocks and its memory."""
        return self.device.startswith("cuda")


QUICK = {"batches": (1, 2), "repeats": 3, "rounds": 1, "thinned": 8}


class Part(Protocol):
    """A module of this folder that measures."""

    cases: Callable[[Plan], tuple[str, ...]]
    """Each is measured, and written down, by itself."""
    measure: Callable[[Plan, str], Finding]
