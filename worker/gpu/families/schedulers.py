"""One sample's own scheduler, and the part of its schedule that strength leaves."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import diffusers
import torch

from shared.errors import BadInput
from shared.schedulers import SCHEDULERS, Choice


@dataclass(eq=False, slots=True)
class Schedule:
    """A scheduler, set to one sample's steps and owned by it."""

    scheduler: Any
    timesteps: Any
    """(calls,) on the CPU, where reading one does not wait for the device."""
    is_whole: bool
    """Whether nothing of the init image is meant to be left."""
    arguments: dict[str, Any]
    """What this scheduler's `step` takes beside the usual."""

    def step(self, prediction: Any, timestep: Any, latents: Any) -> Any:
        """The latents one step on."""
        return self.scheduler.step(
            prediction, timestep, latents, **self.arguments, return_dict=False
        )[0]


def plan(
    config: Mapping[str, Any],
    choice: Choice,
    *,
    steps: int,
    strength: float | None,
    generator: Any,
) -> Schedule:
    """Set up a fresh scheduler from the model's own config; raises `BadInput` for a wrong name.

    Without a strength there is no init image, and all steps are taken.
    """
    if choice.name not in SCHEDULERS:
        raise BadInput(f"unknown scheduler {choice.name}")
    scheduler_class = getattr(diffusers, choice.name)
    scheduler = scheduler_class.from_config(config, **choice.options)
    try:
        scheduler.set_timesteps(steps)
    except ValueError:
        # A distilled schedule has only so many steps to choose from.
        raise BadInput(f"{choice.name} cannot take {steps} steps; ask for fewer") from None
    return Schedule(
        scheduler=scheduler,
        timesteps=_remaining(scheduler, steps, strength),
        is_whole=strength is None or strength == 1.0,
        arguments={
            argument: value
            for argument, value in (("eta", 0.0), ("generator", generator))
            if argument in _step_arguments(scheduler_class)
        },
    )


def _remaining(scheduler: Any, steps: int, strength: float | None) -> Any:
    if strength is None:
        return scheduler.timesteps
    kept = min(int(steps * strength), steps)
    if kept == 0:
        # PNDM's list is one longer than its steps: counting from the front would keep one.
        return torch.empty(0)
    begin = (steps - kept) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(begin)
    return scheduler.timesteps[begin:]


@cache
def _step_arguments(scheduler: type) -> frozenset[str]:
    return frozenset(inspect.signature(scheduler.step).parameters)  # type: ignore[attr-defined]
