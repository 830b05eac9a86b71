"""Schedules of flow-matching models: which public schedulers fit one, and a sample's own."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import diffusers
import numpy as np
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from worker.gpu.families.schedulers import Schedule
from worker.gpu.samples import Sample

WITH_ANY_SHIFT = ("UniPCMultistepScheduler",)
WITH_DYNAMIC_SHIFT = (
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
)
"""Only for models whose shift grows exponentially with the image: they know no other."""


def fitting(config: Mapping[str, Any], *, from_noise: bool, even: bool = False) -> tuple[str, ...]:
    """The public schedulers that the diffusers pipelines accept beside the model's own.

    Every other name is served by the model's own scheduler. `config` is that one's; `even` as in
    `FlowSchedules`.
    """
    if not from_noise:  # none of them can mix noise into an image as flow matching needs it
        return ()
    shift = config.get("use_dynamic_shifting"), config.get("time_shift_type", "exponential")
    if shift == (True, "exponential") and not even:
        return WITH_ANY_SHIFT + WITH_DYNAMIC_SHIFT
    return WITH_ANY_SHIFT


@dataclass(frozen=True, slots=True)
class FlowSchedules:
    """Makes the schedules of one checkpoint's samples."""

    own: Any
    """The checkpoint's scheduler."""
    device: Any
    even: bool = False
    """Whether another scheduler is told the steps that the model's own would take, and does not
    space them itself; not all can be told."""

    def plan(self, sample: Sample, *, from_noise: bool, tokens: int, generator: Any) -> Schedule:
        """Set up a fresh scheduler like the model's own, or the one that the sample names.

        `tokens` is the length of the image as the denoiser sees it; from noise all steps are taken.
        """
        names = fitting(self.own.config, from_noise=from_noise, even=self.even)
        fits = sample.scheduler in names
        scheduler = _in_flow_form(sample.scheduler, self.own.config) if fits else _copy(self.own)
        steps = sample.steps
        sigmas = {"sigmas": np.linspace(1.0, 1 / steps, steps)}
        spacing = {"num_inference_steps": steps} if fits and not self.even else sigmas
        mu = _shift(scheduler.config, tokens)
        scheduler.set_timesteps(**spacing, mu=mu, device=self.device)
        begin = 0 if from_noise else int(max(steps - min(steps * sample.strength, steps), 0))
        scheduler.set_begin_index(begin)
        random = "generator" in inspect.signature(scheduler.step).parameters
        return Schedule(
            scheduler=scheduler,
            timesteps=scheduler.timesteps[begin:],
            is_whole=from_noise or sample.strength == 1.0,
            arguments={"generator": generator} if random else {},
        )


def noised(scheduler: Any, clean: Any, noise: Any) -> Any:
    """Clean latents as noisy as those that the scheduler's next step takes."""
    # Not its own `scale_noise`: that sends an index to the device, which waits for it.
    index = scheduler.begin_index if scheduler.step_index is None else scheduler.step_index
    sigma = scheduler.sigmas[index].to(clean.dtype)
    return sigma * noise + (1.0 - sigma) * clean


def _copy(own: Any) -> Any:
    return type(own).from_config(own.config)


def _in_flow_form(name: str, config: Mapping[str, Any]) -> Any:
    return getattr(diffusers, name).from_config(
        config,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=config.get("shift", 1.0),
    )


def _shift(config: Mapping[str, Any], tokens: int) -> float:
    shift: float = calculate_shift(
        tokens,
        config.get("base_image_seq_len", 256),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.5),
        config.get("max_shift", 1.15),
    )
    return shift
