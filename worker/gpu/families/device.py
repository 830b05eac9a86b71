"""How torch is called: in inference mode, its errors translated to ours."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch
from accelerate import big_modeling

from shared.models import ModelCard
from worker.gpu.families import DeviceLost, DeviceMemoryFull, Pipeline
from worker.gpu.samples import Picture, Sample

P = ParamSpec("P")
T = TypeVar("T")

NO_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
LOST = ("CUDA error", "HIP error")
GLOBALS = threading.RLock()
"""torch has one default dtype, and one way to make parameters, for all threads: held by device
work, and by whoever changes them or makes a module meanwhile."""


class Pace:
    """Lets a thread launch the next step while one runs, and no further ahead.

    A device that is fed at once would otherwise be sent all the steps there are, and who comes
    next, or goes, would wait for them.
    """

    def __init__(self) -> None:
        self._last: Any = None

    def wait(self) -> None:
        """Until the step before the last is done."""
        launched = torch.cuda.Event(blocking=True)  # sleeps instead of turning in circles
        launched.record()
        if self._last is not None:
            self._last.synchronize()
        self._last = launched


PACE = Pace()
"""One for the process, as its device is."""


class Guarded:
    """A family's pipeline as the engine sees it."""

    def __init__(self, pipeline: Pipeline, pace: Pace | None = None) -> None:
        """`pace` is for a device that answers before its work is done."""
        self._pipeline = pipeline
        self._pace = pace

    @property
    def card(self) -> ModelCard:
        """The model's line of the allow-list."""
        return self._pipeline.card

    def prepare(self, sample: Sample) -> None:
        """See `Pipeline`."""
        self._pipeline.prepare(sample)

    def begin(self, sample: Sample) -> None:
        """See `Pipeline`."""
        on_device(self._pipeline.begin, sample)

    def predict(self, samples: Sequence[Sample], rows: int) -> list[Any]:
        """See `Pipeline`."""
        if self._pace is not None:
            on_device(self._pace.wait)
        return on_device(self._pipeline.predict, samples, rows)

    def warm_up(self, sample: Sample, rows: int) -> list[Any]:
        """See `Pipeline`."""
        return on_device(self._pipeline.warm_up, sample, rows)

    def advance(self, sample: Sample, prediction: Any) -> None:
        """See `Pipeline`."""
        on_device(self._pipeline.advance, sample, prediction)

    def develop(self, sample: Sample) -> bool:
        """See `Pipeline`."""
        return on_device(self._pipeline.develop, sample)

    def finish(self, sample: Sample) -> Picture:
        """See `Pipeline`."""
        return on_device(self._pipeline.finish, sample)


def on_device(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do device work; raises `DeviceMemoryFull`, `DeviceLost` or the work's own error."""
    with GLOBALS, torch.inference_mode():
        return in_our_errors(work, *args, **kwargs)


def in_our_errors(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do work; raises `DeviceMemoryFull`, `DeviceLost` or the work's own error."""
    try:
        return work(*args, **kwargs)
    except RuntimeError as error:
        failure = translated(error)
        if failure is None:
            raise
    # Out here, because an error raised while another is handled keeps its frames and their tensors.
    raise failure


def translated(error: RuntimeError) -> Exception | None:
    """What torch's error means to the engine; None: an ordinary failure of the work."""
    text = str(error)
    # First, because a failed allocation inside a CUDA library also calls itself a CUDA error.
    if isinstance(error, torch.OutOfMemoryError) or any(words in text for words in NO_MEMORY):
        return DeviceMemoryFull(text)
    accelerator_error = getattr(torch, "AcceleratorError", torch.OutOfMemoryError)  # from torch 2.7
    if isinstance(error, accelerator_error) or any(words in text for words in LOST):
        return DeviceLost(text)
    return None


@contextmanager
def globals_guarded() -> Iterator[None]:
    """No device work is done while something in this block has changed what all threads share.

    The loaders of diffusers and transformers do so while they build an empty model. In the middle
    of another thread's step, a scheduler's float32 would become a bfloat16, and what is put into a
    model there would lose its values.
    """
    with _default_dtype_guarded(), _empty_modules_guarded():
        yield


@contextmanager
def _default_dtype_guarded() -> Iterator[None]:
    usual, set_default_dtype = torch.get_default_dtype(), torch.set_default_dtype
    held = False

    def guarded(dtype: Any) -> None:
        nonlocal held
        if dtype != usual and not held:
            held = GLOBALS.acquire()
        set_default_dtype(dtype)
        if dtype == usual and held:
            held = False
            GLOBALS.release()

    torch.set_default_dtype = guarded
    try:
        yield
    finally:
        guarded(usual)  # they leave it changed when they fail
        torch.set_default_dtype = set_default_dtype


@contextmanager
def _empty_modules_guarded() -> Iterator[None]:
    init_on_device = big_modeling.init_on_device

    @contextmanager
    def guarded(*args: Any, **options: Any) -> Iterator[None]:
        with GLOBALS, init_on_device(*args, **options):
            yield

    big_modeling.init_on_device = guarded
    try:
        yield
    finally:
        big_modeling.init_on_device = init_on_device


def make_room() -> None:
    """Leave a core to the rest of this machine.

    The threads of a CPU kernel spin for one another: with a busy core under one of them they took
    eight times as long as a single thread.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(max(1, min(torch.get_num_threads(), (cores or 1) - 1)))


def pick() -> str:
    """`cuda` where torch sees such a device, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"
