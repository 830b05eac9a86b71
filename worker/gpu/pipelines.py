"""WarmPipelines: which models stay loaded."""

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import numpy as np

from shared.errors import NoPicture
from shared.models import ModelCard
from worker.gpu.families import Pipeline
from worker.gpu.samples import Sample

log = logging.getLogger(__name__)


class WarmPipelines:
    """Every model of this worker, loaded once and kept."""

    def __init__(
        self, cards: Iterable[ModelCard], device: str, load: Callable[[ModelCard, str], Pipeline]
    ) -> None:
        """Raises what `load` raises: a worker that cannot serve its models does not start."""
        self._device = device
        self._pipelines = {card.model_id: load(card, device) for card in cards}

    def get(self, model_id: str) -> Pipeline:
        """The loaded model; raises `KeyError` for one that this worker does not have."""
        return self._pipelines[model_id]

    def warm_up(self, buckets: Sequence[int]) -> None:
        """Run every batch size once, so that no request pays for a first time."""
        for pipeline in self._pipelines.values():
            side, sizes = self._warm_shapes(pipeline.card, buckets)
            for guidance_scale in (7.5, 1.0):
                _run_once(pipeline, _blank(pipeline.card, side, guidance_scale), sizes)
            log.info("model warm", extra={"model_id": pipeline.card.model_id})

    def _warm_shapes(self, card: ModelCard, buckets: Sequence[int]) -> tuple[int, Sequence[int]]:
        # A CPU picks no kernels and captures no graphs: one tiny pass proves that the model runs.
        if self._device == "cpu":
            return card.limits.min_side, (1,)
        return card.limits.default_side, sorted({min(b, card.max_batch) for b in buckets})


def _run_once(pipeline: Pipeline, sample: Sample, sizes: Sequence[int]) -> None:
    pipeline.prepare(sample)
    pipeline.begin(sample)
    predictions = [pipeline.warm_up(sample, rows) for rows in sizes]
    pipeline.advance(sample, predictions[0][0])
    with suppress(NoPicture):  # a blank picture of one step may be none
        pipeline.finish(sample)


def _blank(card: ModelCard, side: int, guidance_scale: float) -> Sample:
    return Sample(
        job_id=0,
        model_id=card.model_id,
        prompt="",
        negative_prompt="",
        height=side,
        width=side,
        image=np.zeros((side, side, 3), np.uint8),
        # With a mask, because some checkpoints take no image without; the forward is the same.
        mask=np.full((side, side), 255, np.uint8),
        steps=1,
        strength=1.0,
        guidance_scale=guidance_scale,
        scheduler=card.scheduler,
        seed=0,
        distilled=card.distilled,
    )
