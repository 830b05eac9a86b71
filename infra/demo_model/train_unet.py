"""Teaches the UNet to paint what a caption says, in the VAE's latents."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import mse_loss

from infra.demo_model.architecture import make_scheduler, make_unet
from infra.demo_model.captions import caption
from infra.demo_model.fitting import Plan, fit
from infra.demo_model.latents import SCALING, ideal_latents, to_tensor
from infra.demo_model.scenes import draw, random_scene
from infra.demo_model.tokenizer import TOKENS, make_tokenizer
from infra.demo_model.train_text import tokenize

BATCH = 16
SCENES = 6000
UNSAID = 0.12
"""The share of empty captions, for guidance."""


def train_unet(
    plan: Plan, text_encoder: Any, folder: Path, *, look: Callable[[Any, int], None]
) -> tuple[Any, list[float]]:
    """The trained UNet and its losses; the text encoder stays as it is."""
    torch.manual_seed(plan.seed)
    scenes = [random_scene(np.random.default_rng([plan.seed, 3, n])) for n in range(SCENES)]
    latents = torch.cat([SCALING * ideal_latents(to_tensor(draw(scene))[None]) for scene in scenes])
    scheduler, tokenizer = make_scheduler(), make_tokenizer(TOKENS)

    def loss_of(unet: Any, step: int) -> Any:
        rng = np.random.default_rng([plan.seed, 4, step])
        chosen = rng.integers(len(scenes), size=BATCH)
        captions = [caption(scenes[n], rng) if rng.random() > UNSAID else "" for n in chosen]
        with torch.no_grad():
            told = text_encoder(tokenize(tokenizer, captions)).last_hidden_state
        return velocity_loss(unet, scheduler, latents[chosen], told)

    unet = make_unet().to(memory_format=torch.channels_last)
    torch.nn.init.zeros_(unet.conv_out.weight)
    return fit(unet, loss_of, plan, folder / "unet.pt", look=look)


def velocity_loss(unet: Any, scheduler: Any, latents: Any, told: Any) -> Any:
    """The error of the predicted velocity, at timesteps spread evenly over all there are."""
    count, timesteps = len(latents), scheduler.config.num_train_timesteps
    strata = (torch.arange(count) + torch.rand(count)) / count
    at = (strata * timesteps).long()
    noise = torch.randn_like(latents)
    noisy = scheduler.add_noise(latents, noise, at).contiguous(memory_format=torch.channels_last)
    return mse_loss(unet(noisy, at, told).sample, scheduler.get_velocity(latents, noise, at))
