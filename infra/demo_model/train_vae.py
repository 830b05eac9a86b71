"""Teaches the VAE: its encoder to make the ideal latents, its decoder to paint from them."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate, l1_loss, mse_loss

from infra.demo_model.architecture import make_vae
from infra.demo_model.calibration import CERTAIN, calibrate_vae
from infra.demo_model.fitting import Plan, fit
from infra.demo_model.latents import ideal_latents, to_tensor
from infra.demo_model.scenes import SIDE, draw, random_scene

CROPS, CROP = 5, 48
WHOLE_AFTER = 0.85
"""From this share of the steps on it is shown one whole picture a step, as in use."""
SCENES, TEXTURES = 800, 60
"""What it is shown; textures are soft random colours, so that photographs get through too."""
EDGES = 0.5
ENCODER = 4.0
"""How much the encoder's error counts."""
NOISE = 0.04
"""The spread of what is added to the decoder's latents: those that it will get are not ideal."""


def train_vae(plan: Plan, folder: Path) -> tuple[Any, list[float]]:
    """The trained VAE and its losses."""
    torch.manual_seed(plan.seed)
    shown = pictures(plan.seed)

    def loss_of(vae: Any, step: int) -> Any:
        return vae_loss(vae, batch_of(shown, whole=step >= WHOLE_AFTER * plan.steps))

    def look(vae: Any, step: int) -> None:
        save_round_trips(vae, folder / f"vae-{step:05}.png")

    vae = make_vae()
    calibrate_vae(vae, shown[:40])
    return fit(
        vae.to(memory_format=torch.channels_last), loss_of, plan, folder / "vae.pt", look=look
    )


def vae_loss(vae: Any, batch: Any) -> Any:
    """How far latents are from the ideal ones, and pictures off in colours and edges."""
    ideal = ideal_latents(batch)
    moments = vae.quant_conv(vae.encoder(batch))
    encoder = mse_loss(moments, torch.cat([ideal, torch.full_like(ideal, CERTAIN)], dim=1))
    decoded = vae.decode(ideal + NOISE * torch.randn_like(ideal)).sample
    edges = sum(l1_loss(decoded.diff(dim=d), batch.diff(dim=d)) for d in (2, 3))
    return l1_loss(decoded, batch) + mse_loss(decoded, batch) + EDGES * edges + ENCODER * encoder


def pictures(seed: int) -> Any:
    """All that the VAE learns from, (n, 3, side, side) from -1 to 1."""
    scenes = [draw(random_scene(np.random.default_rng([seed, n]))) for n in range(SCENES)]
    batch = torch.stack([*map(to_tensor, scenes), *(_texture() for _ in range(TEXTURES))])
    return batch[torch.randperm(len(batch))]


def batch_of(shown: Any, *, whole: bool) -> Any:
    """One of them, or crops of more of them."""
    if whole:
        batch = shown[torch.randint(len(shown), (1,))]
    else:
        chosen = torch.randint(len(shown), (CROPS,))
        corners = torch.randint(SIDE - CROP + 1, (CROPS, 2)).tolist()
        where = zip(chosen, corners, strict=True)
        batch = torch.stack([shown[n, :, y : y + CROP, x : x + CROP] for n, (y, x) in where])
    return batch.contiguous(memory_format=torch.channels_last)


def save_round_trips(vae: Any, path: Path) -> None:
    """Scenes and a texture above what came back of them."""
    scenes = [draw(random_scene(np.random.default_rng([98, n]))) for n in range(9)]
    batch = torch.stack([*map(to_tensor, scenes), _texture()])
    with torch.inference_mode():
        decoded = vae.decode(vae.encode(batch).latent_dist.mean).sample
    error = (decoded.clamp(-1, 1) - batch)[:9].square().mean().item() / 4
    print(f"{path.stem}: PSNR {-10 * np.log10(error):.1f} dB")
    rows = torch.cat([torch.cat(list(images), dim=2) for images in (batch, decoded)], dim=1)
    pixels = ((rows.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(path)


def _texture() -> Any:
    coarse = [torch.rand(1, 3, n, n) * 2 - 1 for n in (3, 6, 12)]
    soft = sum(interpolate(c, size=(SIDE, SIDE), mode="bicubic") for c in coarse)
    return (soft[0] / 1.3).clamp(-1, 1)
