"""Floating-point operations, counted on networks without weights: two for a multiply-add."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from infra.bench.gpu.models import ARCHITECTURES, DTYPE, TINY_SIDE, denoiser, make_parts

META = "meta"
CLIP_TOKENS, T5_TOKENS = 77, 512


@dataclass(frozen=True)
class Work:
    """Operations by what is run, at the model's own size."""

    row: int
    """The denoiser, one row."""
    encode: int
    decode: int
    text: int
    """One prompt, by all text encoders."""

    def image(self, calls: int, halves: int) -> int:
        """One image to image: so many denoiser calls of so many rows."""
        return halves * (calls * self.row + self.text) + self.encode + self.decode


@cache
def work(name: str, *, tiny: bool) -> Work:
    """Count; takes seconds and no device."""
    parts = make_parts(name, META, tiny=tiny)
    side = TINY_SIDE if tiny else ARCHITECTURES[name].side
    vae, dtype = parts["vae"], getattr(torch, DTYPE)
    with torch.device(META):
        image = torch.empty(1, 3, side, side, dtype=dtype)
        latents = torch.empty(1, vae.config.latent_channels, side // 8, side // 8, dtype=dtype)
        return Work(
            row=_counted(lambda: denoiser(parts)(**_denoiser_inputs(parts, latents))),
            encode=_counted(lambda: vae.encode(image)),
            decode=_counted(lambda: vae.decode(latents)),
            text=sum(_counted(lambda e=e, t=t: e(_ids(t))) for e, t in _encoders(parts)),
        )


def _counted(run: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    operations: int = counter.get_total_flops()
    return operations


def _encoders(parts: dict[str, Any]) -> list[tuple[Any, int]]:
    encoders = [(parts["text_encoder"], CLIP_TOKENS)]
    if "text_encoder_2" in parts:
        encoders.append(
            (parts["text_encoder_2"], T5_TOKENS if "transformer" in parts else CLIP_TOKENS)
        )
    return encoders


def _ids(tokens: int) -> Any:
    return torch.zeros(1, tokens, dtype=torch.long)


def _denoiser_inputs(parts: dict[str, Any], latents: Any) -> dict[str, Any]:
    config, dtype = denoiser(parts).config, latents.dtype
    if "transformer" in parts:
        tokens = latents.shape[2] * latents.shape[3] // 4
        return {
            "hidden_states": torch.empty(1, tokens, config.in_channels, dtype=dtype),
            "timestep": torch.empty(1, dtype=dtype),
            "guidance": torch.empty(1),
            "pooled_projections": torch.empty(1, config.pooled_projection_dim, dtype=dtype),
            "encoder_hidden_states": torch.empty(
                1, T5_TOKENS, config.joint_attention_dim, dtype=dtype
            ),
            "txt_ids": torch.empty(T5_TOKENS, 3, dtype=dtype),
            "img_ids": torch.empty(tokens, 3, dtype=dtype),
        }
    prompt = torch.empty(1, CLIP_TOKENS, config.cross_attention_dim, dtype=dtype)
    inputs = {"sample": latents, "timestep": torch.empty(1), "encoder_hidden_states": prompt}
    if config.addition_embed_type:
        width = parts["text_encoder_2"].config.projection_dim
        pooled = torch.empty(1, width, dtype=dtype)
        ids = torch.empty(1, 6, dtype=dtype)
        inputs["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": ids}
    return inputs
