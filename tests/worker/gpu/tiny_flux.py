"""Flux.1 in miniature with random weights: all parts of their true kinds."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxImg2ImgPipeline,
    FluxTransformer2DModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, T5TokenizerFast

from infra.demo_model.tokenizer import TOKENS, WORDS, make_tokenizer

WIDTH = 32
LATENT_CHANNELS = 16
FLUX_SHIFT = {"shift": 3.0, "base_shift": 0.5, "max_shift": 1.15}


def build_flux(folder: Path, *, kind: str) -> Path:
    """Write a diffusers folder of the `dev` or `schnell` kind; the same weights each time."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(20240801)
        pipe = FluxImg2ImgPipeline(
            transformer=_make_transformer(guidance_embeds=kind == "dev"),
            vae=_make_vae(),
            text_encoder=_make_clip(),
            tokenizer=make_tokenizer(TOKENS),
            text_encoder_2=_make_t5(),
            tokenizer_2=make_t5_tokenizer(),
            scheduler=_make_scheduler(dynamic=kind == "dev"),
        )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def make_t5_tokenizer() -> Any:
    """T5's tokenizer over the demo model's words and single letters."""
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = [(f"▁{word}", -1.0) for word in dict.fromkeys(WORDS.split())]
    letters = [(letter, -4.0) for letter in "▁abcdefghijklmnopqrstuvwxyz0123456789.,"]
    known = {piece for piece, _ in words}
    return T5TokenizerFast(
        vocab=[*specials, *words, *(pair for pair in letters if pair[0] not in known)],
        extra_ids=0,
        model_max_length=512,
    )


def _make_transformer(*, guidance_embeds: bool) -> Any:
    return FluxTransformer2DModel(
        in_channels=4 * LATENT_CHANNELS,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 6, 6),
    ).eval()


def _make_vae() -> Any:
    return AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=LATENT_CHANNELS,
        use_quant_conv=False,
        use_post_quant_conv=False,
        scaling_factor=0.3611,
        shift_factor=0.1159,
    ).eval()


def _make_clip() -> Any:
    config = CLIPTextConfig(
        vocab_size=len(TOKENS),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_attention_heads=2,
        num_hidden_layers=2,
        bos_token_id=len(TOKENS) - 2,
        eos_token_id=len(TOKENS) - 1,
        pad_token_id=len(TOKENS) - 1,
    )
    return CLIPTextModel(config).eval()


def _make_t5() -> Any:
    config = T5Config(
        vocab_size=len(make_t5_tokenizer()),
        d_model=WIDTH,
        d_kv=16,
        d_ff=2 * WIDTH,
        num_heads=2,
        num_layers=2,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config).eval()


def _make_scheduler(*, dynamic: bool) -> Any:
    if dynamic:
        return FlowMatchEulerDiscreteScheduler(**FLUX_SHIFT, use_dynamic_shifting=True)
    return FlowMatchEulerDiscreteScheduler(shift=1.0)
