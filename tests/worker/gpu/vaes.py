"""A VAE at work."""

import torch

from worker.gpu.families.device import on_device


def encode(vae, sample, seed=0, kind="encode"):
    """The sample's latents, drawn with this seed."""
    return on_device(getattr(vae, kind), sample, torch.Generator().manual_seed(seed))
