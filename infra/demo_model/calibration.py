"""A head start for the VAE: before the first step, colours already come back, only blurred."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import unfold

from infra.demo_model.latents import ideal_latents

DAMPING = 0.1
CERTAIN = -6.0
"""The log of the variance of what is encoded."""


@torch.no_grad()
def calibrate_vae(vae: Any, pictures: Any) -> None:
    """Fit both last layers by least squares: to the ideal latents, and to the pictures."""
    for name, parameter in vae.named_parameters():
        if name.endswith("conv2.weight"):
            parameter.mul_(DAMPING)
    channels = vae.config.latent_channels
    torch.nn.init.eye_(vae.quant_conv.weight.view(2 * channels, -1))
    torch.nn.init.eye_(vae.post_quant_conv.weight.view(channels, -1))
    vae.quant_conv.bias.zero_()
    vae.post_quant_conv.bias.zero_()

    latents = ideal_latents(pictures)
    moments = torch.cat([latents, torch.full_like(latents, CERTAIN)], dim=1)
    fit_last_layer(vae.encoder.conv_out, lambda: vae.encode(pictures), moments)
    fit_last_layer(vae.decoder.conv_out, lambda: vae.decode(latents), pictures)


def fit_last_layer(layer: Any, run: Callable[[], Any], target: Any) -> None:
    """Set a 3x3 convolution to the least squares between what it is given and the target."""
    given: list[Any] = []
    hook = layer.register_forward_hook(lambda _layer, args, _output: given.append(args[0]))
    run()
    hook.remove()
    patches = unfold(given[0], 3, padding=1).transpose(1, 2).flatten(0, 1)
    inputs = torch.cat([patches, torch.ones(len(patches), 1)], dim=1).double()
    wanted = target.flatten(2).transpose(1, 2).flatten(0, 1).double()
    ridge = 1e-4 * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.double)
    solution = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ wanted).float()
    layer.weight.copy_(solution[:-1].T.reshape(layer.weight.shape))
    layer.bias.copy_(solution[-1])
