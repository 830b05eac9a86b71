"""Stable Diffusion 1.x in miniature with random weights, for what needs speed and no meaning."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    PNDMScheduler,
    StableDiffusionImg2ImgPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel

from infra.demo_model.tokenizer import TOKENS, make_tokenizer

SEED = 20240229
TEXT_WIDTH = 64
LATENT_SIDE = 32
DAMPING = 0.1


def save_tiny_sd(folder: Path) -> Path:
    """The whole pipeline as a diffusers folder."""
    make_pipeline().save_pretrained(folder, safe_serialization=True)
    return folder


def make_pipeline() -> Any:
    """The model in memory; the same weights each time, and no trace in torch's random state."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        vae = make_vae()
        unet = make_unet()
        text_encoder = make_text_encoder()
        scheduler = make_scheduler()
        calibrate_vae(vae)
        calibrate_unet(unet, vae, scheduler)
    return StableDiffusionImg2ImgPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=make_tokenizer(TOKENS),
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def make_vae() -> Any:
    """Three halvings, four latent channels."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        sample_size=LATENT_SIDE * 8,
        scaling_factor=0.18215,
    ).eval()


def make_unet() -> Any:
    """The four levels of Stable Diffusion 1.x, narrow."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    ).eval()


def make_text_encoder() -> Any:
    """Two layers of CLIP."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(TOKENS),
            bos_token_id=len(TOKENS) - 2,
            eos_token_id=len(TOKENS) - 1,
            pad_token_id=len(TOKENS) - 1,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            projection_dim=TEXT_WIDTH,
            num_attention_heads=4,
            num_hidden_layers=2,
        )
    ).eval()


def make_scheduler() -> Any:
    """As Stable Diffusion 1.5 has it."""
    config = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "skip_prk_steps": True,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "clip_sample": False,  # not PNDM's own: for the schedulers that are made from this config
    }
    return PNDMScheduler.from_config(config)


def calibrate_vae(vae: Any) -> None:
    """Fit the last layers: latents have the usual spread, and pictures come back recognisable."""
    damp(vae)
    pictures = blobs(4)
    vae.quant_conv.weight[4:] = 0
    vae.quant_conv.bias[4:] = -12  # the log of the variance: as certain as a trained one
    spread = 1 / vae.config.scaling_factor
    rescale(vae.quant_conv, vae.encode(pictures).latent_dist.mean, spread=spread)
    latents = vae.encode(pictures).latent_dist.mean
    fit(vae.decoder.conv_out, lambda: vae.decode(latents), pictures)


def calibrate_unet(unet: Any, vae: Any, scheduler: Any) -> None:
    """Fit the last layer to the noise that it stands for."""
    damp(unet)
    latents = vae.encode(blobs(16)).latent_dist.mean * vae.config.scaling_factor
    noise = torch.randn_like(latents)
    timesteps = torch.linspace(1, 999, len(latents)).long()
    noisy = scheduler.add_noise(latents, noise, timesteps)
    prompts = torch.randn(len(latents), 77, TEXT_WIDTH)
    fit(unet.conv_out, lambda: unet(noisy, timesteps, prompts), noise)


def blobs(count: int) -> Any:
    """Soft colours, (count, 3, 256, 256) from -1 to 1."""
    side = 8 * LATENT_SIDE
    coarse = [torch.rand(count, 3, n, n) * 2 - 1 for n in (4, 16, 32)]
    smooth = [torch.nn.functional.interpolate(c, size=(side, side), mode="bicubic") for c in coarse]
    return (sum(smooth) / 1.5).clamp(-1, 1)


def damp(model: Any) -> None:
    """Soften the residual branches, so that what goes in can be told from what comes out.

    Those that listen to the prompt stay loud: another prompt shall be another picture.
    """
    for name, parameter in model.named_parameters():
        if name.endswith(("conv2.weight", "attn1.to_out.0.weight", "attentions.0.to_out.0.weight")):
            parameter.mul_(DAMPING)


def rescale(layer: Any, output: Any, *, spread: float) -> None:
    """Make the first channels of a last layer's output have mean 0 and this standard deviation."""
    channels = output.shape[1]
    factor = spread / output.std(dim=(0, 2, 3))
    layer.bias[:channels].sub_(output.mean(dim=(0, 2, 3))).mul_(factor)
    layer.weight[:channels].mul_(factor[:, None, None, None])


def fit(layer: Any, run: Callable[[], Any], target: Any) -> None:
    """Set a last 3x3 convolution to the least squares between what it is given and the target."""
    given: list[Any] = []
    hook = layer.register_forward_hook(lambda _layer, args, _output: given.append(args[0]))
    run()
    hook.remove()
    patches = torch.nn.functional.unfold(given[0], 3, padding=1).transpose(1, 2).flatten(0, 1)
    inputs = torch.cat([patches, torch.ones(len(patches), 1)], dim=1).double()
    wanted = target.flatten(2).transpose(1, 2).flatten(0, 1).double()
    ridge = 1e-4 * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.double)
    solution = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ wanted).float()
    layer.weight.copy_(solution[:-1].T.reshape(layer.weight.shape))
    layer.bias.copy_(solution[-1])
