"""Where an attempt's time goes."""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from worker.gpu.metrics import STAGE_SECONDS

P = ParamSpec("P")
R = TypeVar("R")


class Stages:
    """The stages of one attempt on the thread that runs it: each begins where the last one ended.

    claim    the ledger's answer
    fetch    of the images; before it, where asked for, more words for the prompt
    decode   of the images
    submit   their digests, files to read, a model to load
    wait     for a place in a batch
    steps    from the first sample's encoding to its last step
    develop  until the picture is here: decoding, copying; or the checks of all pictures
    encode   to a file
    upload   to the bucket
    check    of an image that is only to be checked, in place of submit to upload
    finish   the ledger's answer

    Of several samples the later ones add what is left of theirs when the thread comes to them.
    """

    def __init__(self) -> None:
        self._since = time.monotonic()
        self.seconds: dict[str, float] = {}

    def end(self, stage: str, at: float | None = None) -> None:
        """It has ended, now or at that monotonic time."""
        ended = max(self._since, time.monotonic() if at is None else at)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + ended - self._since
        self._since = ended

    def timed(self, stage: str, work: Callable[P, R]) -> Callable[P, R]:
        """The same function, a call of which ends the stage."""

        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            done = work(*args, **kwargs)
            self.end(stage)
            return done

        return call

    def observe(self) -> dict[str, float]:
        """Count them, and return them in milliseconds."""
        for stage, seconds in self.seconds.items():
            STAGE_SECONDS.labels(stage).observe(seconds)
        return {stage: round(1000 * seconds, 1) for stage, seconds in self.seconds.items()}
