"""The network that every step calls: laid out for its device, compiled where its card says so."""

import logging
from importlib import import_module
from typing import Any

import torch

from shared.models import ModelCard
from worker.gpu.metrics import RECOMPILES

log = logging.getLogger(__name__)

NEVER_AGAIN = "fail_on_recompile"
"""A stance of torch, and a word of the error it raises then."""
MOST_COMPILED = 256
"""Shapes, of all models in the life of the process: as many as torch allows with other limits."""


class Denoiser:
    """A UNet or a transformer, called as the plain one is.

    Only shapes that were warmed up run compiled: another one would stop every sample of the worker
    for the minutes that a compiler takes. So does a module into which a LoRA was injected.
    """

    def __init__(self, module: Any, card: ModelCard) -> None:
        self._module = _laid_out(module)
        self._compiled = None
        if card.compile is not None:
            # Counted over all models of one class: beyond it torch goes on uncompiled, unasked.
            dynamo: Any = import_module("torch._dynamo.config")
            dynamo.recompile_limit = MOST_COMPILED
            self._compiled = torch.compile(module, mode=card.compile, dynamic=False)
        self._warm: set[tuple[Any, ...]] = set()

    def __call__(
        self, hidden: Any, *, encoder_hidden_states: Any, exactly: bool = False, **inputs: Any
    ) -> Any:
        """The module's first output.

        `exactly` leaves the compiler out: what its search finds fastest can differ tomorrow.
        """
        inputs["encoder_hidden_states"] = encoder_hidden_states
        shape = _shape(hidden, inputs)
        if shape in self._warm and not exactly and not _is_adapted(self._module):
            try:
                with torch.compiler.set_stance(NEVER_AGAIN):
                    return self._run_compiled(hidden, inputs)
            except RuntimeError as error:
                if NEVER_AGAIN not in str(error):
                    raise
            # Compiling anew would stop every sample; why it has to be is for the operator to find.
            log.error("no longer fits what was compiled", extra={"shape": str(shape)})
            RECOMPILES.inc()
            self._warm.discard(shape)
        return self._module(hidden, **inputs, return_dict=False)[0]

    def warm_up(self, hidden: Any, **inputs: Any) -> Any:
        """Compile for this shape, if the card says so, and answer as for any other call."""
        if self._compiled is None or _is_adapted(self._module):
            return self(hidden, **inputs)
        self._warm.add(_shape(hidden, inputs))
        return self._run_compiled(hidden, inputs)

    def _run_compiled(self, hidden: Any, inputs: dict[str, Any]) -> Any:
        assert self._compiled is not None
        # A replayed graph writes over its last output, which schedulers may have kept.
        return self._compiled(hidden, **inputs, return_dict=False)[0].clone()


def _laid_out(module: Any) -> Any:
    """Convolutions of tensor cores want the channels of a pixel side by side."""
    halved = module.dtype in (torch.bfloat16, torch.float16)
    if module.device.type == "cuda" and halved:
        return module.to(memory_format=torch.channels_last)
    return module


def _shape(hidden: Any, inputs: dict[str, Any]) -> tuple[Any, ...]:
    return (hidden.shape, inputs["encoder_hidden_states"].shape)


def _is_adapted(module: Any) -> bool:
    # None once the last one is taken out: its layers stay, and the compiler would begin again.
    return getattr(module, "_hf_peft_config_loaded", False) is not False
