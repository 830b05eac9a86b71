"""Stable Diffusion 1.x as one file, with the names that its authors gave the weights."""

import re
import shutil
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from shared.checkpoints import weight_files

LEVELS, LAYERS = 4, 1
"""Of the demo model."""
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
ENDS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
VAE_NAMES = {
    "down_blocks.{i}.resnets": "down.{i}.block",
    "down_blocks.{i}.downsamplers.0": "down.{i}.downsample",
    "up_blocks.{i}.resnets": "up.{up}.block",
    "up_blocks.{i}.upsamplers.0": "up.{up}.upsample",
}
VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def save_single_file(folder: Path, path: Path) -> Path:
    """Write the checkpoint of a diffusers folder as one file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unet, vae, text = (_weights(folder / part) for part in ("unet", "vae", "text_encoder"))
    weights = {f"model.diffusion_model.{_unet_name(n)}": t for n, t in unet.items()}
    weights |= {f"first_stage_model.{_vae_name(n)}": _vae_shape(n, t) for n, t in vae.items()}
    for name, tensor in text.items():
        inner = name.removeprefix("text_model.")
        weights[f"cond_stage_model.transformer.text_model.{inner}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
    return path


def save_configs(folder: Path, to: Path) -> Path:
    """Write the folder's files without its weights."""
    return Path(shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.safetensors")))


def _weights(part: Path) -> dict[str, Any]:
    return {name: t for path in weight_files(part) for name, t in load_file(path).items()}


def _unet_name(name: str) -> str:
    for theirs, original in ENDS.items():
        if name.startswith(f"{theirs}."):
            return name.replace(theirs, original, 1)
    place, original = next(pair for pair in _unet_places() if name.startswith(pair[0]))
    inner = original + name.removeprefix(place)
    if ".resnets." in name:
        for theirs, original in RESNET.items():
            inner = inner.replace(f".{theirs}.", f".{original}.")
    return inner


def _unet_places() -> list[tuple[str, str]]:
    places = [
        ("mid_block.resnets.0.", "middle_block.0."),
        ("mid_block.attentions.0.", "middle_block.1."),
        ("mid_block.resnets.1.", "middle_block.2."),
    ]
    width = LAYERS + 1
    for i in range(LEVELS):
        for j in range(width):
            down, up = f"input_blocks.{width * i + j + 1}", f"output_blocks.{width * i + j}"
            places += [
                (f"down_blocks.{i}.resnets.{j}.", f"{down}.0."),
                (f"down_blocks.{i}.attentions.{j}.", f"{down}.1."),
                (f"up_blocks.{i}.resnets.{j}.", f"{up}.0."),
                (f"up_blocks.{i}.attentions.{j}.", f"{up}.1."),
            ]
        after = 1 if i == 0 else 2  # the lowest level has no attention
        places += [
            (f"down_blocks.{i}.downsamplers.0.conv.", f"input_blocks.{width * (i + 1)}.0.op."),
            (f"up_blocks.{i}.upsamplers.0.", f"output_blocks.{width * i + LAYERS}.{after}."),
        ]
    return places


def _vae_name(name: str) -> str:
    for i in range(LEVELS):
        for theirs, original in VAE_NAMES.items():
            name = name.replace(theirs.format(i=i), original.format(i=i, up=LEVELS - 1 - i))
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    if "mid_block.attentions.0." in name:
        name = name.replace("mid_block.attentions.0.", "mid.attn_1.")
        for theirs, original in VAE_ATTENTION.items():
            name = name.replace(f".{theirs}.", f".{original}.")
    return name


def _vae_shape(name: str, tensor: Any) -> Any:
    # Attention was written as convolutions of one pixel.
    is_convolution = ".attentions." in name and tensor.ndim == 2
    return tensor[:, :, None, None] if is_convolution else tensor
