"""Files that requests add to tiny models: random, and strong enough to be seen."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from shared.add_ons import AddOn

RANK = 4
CHANGED = ("to_q", "to_v", "ff.net.2", "proj_in", "conv1", "q_proj", "out_proj", "fc1")


def lora_layers(
    parts: Mapping[str, Any], seed: int, changed: Sequence[str] = CHANGED
) -> dict[str, Any]:
    """As diffusers names them: `unet.<module>.lora_A.weight`."""
    generator = torch.Generator().manual_seed(seed)
    layers = {}
    for part, name, module in _changed(parts, changed):
        out, into, *kernel = module.weight.shape
        down = torch.randn(RANK, into, *kernel, generator=generator)
        up = torch.randn(out, RANK, *(1 for _ in kernel), generator=generator)
        layers[f"{part}.{name}.lora_A.weight"] = down * 0.1
        layers[f"{part}.{name}.lora_B.weight"] = up * 0.1
    return layers


def kohya_layers(layers: Mapping[str, Any], alpha: float) -> dict[str, Any]:
    """The same layers as kohya's trainer names them, which a U-Net's and encoders' files are in."""
    renamed = {}
    for key, tensor in layers.items():
        part, _, rest = key.partition(".")
        name, _, end = rest.partition(".lora_")
        short = {"unet": "unet", "text_encoder": "te1", "text_encoder_2": "te2"}[part]
        name = f"lora_{short}_{name.replace('.', '_')}"
        renamed[f"{name}.lora_{'down' if end[0] == 'A' else 'up'}.weight"] = tensor
        renamed[f"{name}.alpha"] = torch.tensor(alpha)
    return renamed


LDM = (
    (r"down_blocks\.(\d)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d)\.resnets", r"up.\1.block"),
    (r"up_blocks\.(\d)\.upsamplers\.0", r"up.\1.upsample"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"group_norm", "norm"),
    (r"to_(q|k|v)", r"\1"),
    (r"to_out\.0", "proj_out"),
)


def ldm_names(vae: Mapping[str, Any]) -> dict[str, Any]:
    """A VAE of four levels as the first checkpoints named it: levels of the decoder upwards."""
    renamed = {}
    for key, tensor in vae.items():
        name = re.sub(r"up_blocks\.(\d)", lambda found: f"up_blocks.{3 - int(found[1])}", key)
        for new, old in LDM:
            name = re.sub(new, old, name)
        is_attention = "attn_1" in name and tensor.dim() == 2  # once 1x1 convolutions
        renamed[name] = tensor[:, :, None, None].contiguous() if is_attention else tensor
    return renamed


def save(
    folder: Path,
    name: str,
    tensors: Mapping[str, Any],
    family: Any = "sd",
    metadata: dict[str, str] | None = None,
) -> AddOn:
    """The card of a file of tensors."""
    source = folder / f"{name}.safetensors"
    save_file(dict(tensors), source, metadata)
    return AddOn(name=name, family=family, source=source)


def _changed(parts: Mapping[str, Any], changed: Sequence[str]) -> Any:
    for part, model in parts.items():
        # Files have the names that encoders had before they were flattened.
        around = "text_model." if "encoder" in part and not hasattr(model, "text_model") else ""
        for name, module in model.named_modules():
            if name.endswith(tuple(changed)) and hasattr(module, "weight"):
                yield part, around + name, module
