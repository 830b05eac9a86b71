"""Sample, BatchKey, Batch, Picture: the words of this folder. A sample, one image, is the unit."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shared.add_ons import AddOn, Embedding
from shared.schedulers import Options

Pixels = NDArray[np.uint8]


class WeightedLora(NamedTuple):
    """A LoRA, and how strongly it works."""

    card: AddOn
    strength: float


@dataclass(frozen=True, slots=True)
class BatchKey:
    """What samples must share to share a forward pass.

    Not in it: prompt, embeddings, clip skip, seed, steps, strength, guidance value, scheduler and
    VAE, which each sample owns.
    """

    model_id: str
    height: int
    width: int
    guided: bool
    """Whether the step has unconditional rows too (guidance scale above 1, model not distilled)."""
    inpaint: bool
    chunks: int = 1
    """How many times 77 tokens the denoiser looks at; more, even empty ones, is another picture."""
    context: bool = False
    """Whether the denoiser looks at the tokens of an init image too."""
    loras: tuple[tuple[str, float], ...] = ()
    """Names and strengths, by name: the denoiser has one set at a time."""
    strict: bool = False
    """Always the same number of rows, so that the bits are the same, whatever else happens."""


@dataclass(eq=False, slots=True, weakref_slot=True)
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
    context: bool = False
    """See `BatchKey`; known once the family has prepared the sample."""
    digests: tuple[bytes, ...] = ()
    """Of the image's and the mask's pixels; known once the family has prepared the sample."""
    loras: tuple[WeightedLora, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    vae: AddOn | None = None
    """None: the model's own."""
    read: dict[AddOn, Any] = field(default_factory=dict)
    """What the family has read of the LoRAs' and the VAE's files, so that it stays at hand."""
    strict: bool = False
    """The bits must not depend on load or memory: what would change them fails the sample."""
    distilled: bool = False
    """The model takes the guidance scale as an input: no unconditional rows, whatever it is."""
    done: "Future[Picture]" = field(default_factory=Future)
    loading: bool = False
    """It waits for its model to be in memory."""
    step: int = 0
    """Denoiser calls done."""
    total: int = 0
    """Denoiser calls in all; known once the family has begun the sample."""
    denoising: Any = None
    """The family's own state, from `begin` to `finish`."""
    began: float = 0.0
    """When the engine admitted it, by its clock."""
    painted: float = 0.0
    """When its last step was launched."""
    degraded: set[str] = field(default_factory=set)
    """What had to be done otherwise than usual, in words for the caller."""
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
            context=self.context,
            loras=tuple(sorted((lora.card.name, lora.strength) for lora in self.loras)),
            strict=self.strict,
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

    def restart(self) -> None:
        """Let go of all that was made of it: it begins again, and comes to the same bits."""
        self.denoising = None
        self.step = self.total = 0
        self.degraded.clear()

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
    unsafe: bool | None = None
    """What the safety checker says; None: it was not asked."""
