"""DeviceMemory: what models take of a device, counted on what is really there."""

import gc
import math
from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch

from shared.checkpoints import count_weights, loaded_parts, weight_files
from shared.models import ModelCard
from worker.gpu.families.device import GLOBALS
from worker.gpu.families.weights import alive, check_files, equal_parts

HEADROOM = 0.2
"""Of the device, for what the work itself takes: activations, latents, libraries. An estimate."""


class DeviceMemory:
    """`Memory` of a device of torch's."""

    def __init__(self, device: str, budget: int | None = None) -> None:
        """`budget` in bytes; None: all of an accelerator but the headroom, on a CPU no limit."""
        self._device = device
        self.budget = _all_of(device) if budget is None else budget

    def needs(self, card: ModelCard) -> int:
        """See `Memory`; raises `OSError` without the model's files."""
        check_files(card)
        return sum(_sizes(card).values())

    def would_add(self, card: ModelCard) -> int:
        """See `Memory`."""
        there = equal_parts(card, self._device)
        return sum(size for part, size in _sizes(card).items() if part not in there)

    def held(self, model_ids: Iterable[str]) -> int:
        """See `Memory`."""
        modules = {id(module): module for _, module in alive(set(model_ids))}
        with GLOBALS:  # the engine's thread puts LoRAs into them
            return sum(map(_nbytes, modules.values()))

    def give_back(self) -> None:
        """See `Memory`."""
        gc.collect()  # pipelines keep caches of their own methods, which refer to them
        if self._device != "cpu":
            torch.cuda.empty_cache()


def _all_of(device: str) -> float:
    if device == "cpu":
        return math.inf
    return int((1 - HEADROOM) * torch.cuda.get_device_properties(device).total_memory)


def _sizes(card: ModelCard) -> dict[str, int]:
    width = getattr(torch, card.dtype).itemsize
    if card.is_single_file:
        return {"": width * count_weights(card.source)}
    found = loaded_parts(card.source) or [""]  # a model alone lies in the folder itself
    return {p: width * sum(map(count_weights, weight_files(card.source / p))) for p in found}


def _nbytes(module: Any) -> int:
    return sum(tensor.nbytes for tensor in chain(module.parameters(), module.buffers()))
