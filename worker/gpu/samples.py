"""Sample, BatchKey, Batch, Picture: the words of this folder. A sample, one image, is the unit."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.schedulers import Options

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What samples must share to share a forward pass.

    Not in it: prompt, clip skip, seed, steps, strength, guidance value and scheduler, which each
    sample owns.
    """

    model_id: str
    height: int
    width: int
    guided: bool
    """Whether the step has unconditional rows too (guidance scale above 1, model not distilled)."""
    inpaint: bool
    chunks: int = 1
    """How many times 77 tokens the denoiser looks at; more, even empty ones, is another picture."""
    alone: int | None = None
    """A job id: a suspect attempt shares no forward pass with others."""


@dataclass(eq=False, slots=True)
class Sample:
    """One image to make: what the engine is given, and the future that it answers by."""

    job_id: int
    model_id: str
    prompt: str
    negative_prompt: str
    image: Pixels | None
    """(height, width, 3), RGB, already at the size of the output; None: from the text alone."""
    mask: Pixels | None
    """(height, width), 255 is repainted, 0 is kept; None: the whole image."""
    height: int
    width: int
    steps: int
    strength: float
    guidance_scale: float
    scheduler: str
    seed: int
    scheduler_options: Options = field(default_factory=dict)
    clip_skip: int | None = None
    chunks: int = 1
    """Of the longer prompt; known once the family has prepared the sample."""
    alone: bool = False
    distilled: bool = False
    """The model takes the guidance scale as an input: no unconditional rows, whatever it is."""
    done: "Future[Picture]" = field(default_factory=Future)
    step: int = 0
    """Denoiser calls done."""
    total: int = 0
    """Denoiser calls in all; known once the family has begun the sample."""
    denoising: Any = None
    """The family's own state, from `begin` to `finish`."""
    ended: Callable[["Sample"], None] = lambda _: None
    """Called once the engine has let go of the sample."""

    @property
    def key(self) -> BatchKey:
        """Which samples this one can share a step with."""
        return BatchKey(
            model_id=self.model_id,
            height=self.height,
            width=self.width,
            guided=self.guidance_scale > 1 and not self.distilled,
            inpaint=self.mask is not None,
            chunks=self.chunks,
            alone=self.job_id if self.alone else None,
        )

    def succeed(self, picture: "Picture") -> None:
        """Answer with a picture, unless nobody waits any more."""
        self._end()
        if self.done.set_running_or_notify_cancel():
            self.done.set_result(picture)

    def fail(self, error: Exception) -> None:
        """Answer with an error, unless nobody waits any more."""
        self._end()
        # A kept traceback, its own or a chained one, would keep the tensors of its frames.
        error.__cause__ = error.__context__ = None
        if self.done.set_running_or_notify_cancel():
            self.done.set_exception(error.with_traceback(None))

    def forget(self) -> None:
        """Let go of what a cancelled sample holds, and tell who waits for it."""
        self._end()
        if self.done.cancelled():
            self.done.set_running_or_notify_cancel()

    def _end(self) -> None:
        self.denoising = None
        self.ended(self)


@dataclass(frozen=True, slots=True)
class Batch:
    """The samples that take the next step together."""

    key: BatchKey
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished sample: (height, width, 3) RGB, and the denoiser calls that it took."""

    pixels: Pixels
    steps: int
    scheduler: str = ""
    """The class that took the steps, where the family chose another than the sample names."""
