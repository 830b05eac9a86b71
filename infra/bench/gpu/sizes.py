"""The configs of the public models, and miniatures of the same kinds."""

from dataclasses import dataclass, field
from typing import Any

from infra.demo_model.tokenizer import TOKENS


@dataclass(frozen=True)
class Sizes:
    """What diffusers and transformers make the networks of one model from."""

    denoiser: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, Any]
    """The first text encoder, CLIP-L."""
    second_text: dict[str, Any] = field(default_factory=dict)
    """SDXL: OpenCLIP bigG; Flux: T5-XXL."""


_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
}
_TINY_VAE = _VAE | {
    "block_out_channels": (8, 16, 16, 16),
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
_SD = {"scaling_factor": 0.18215}
_SDXL = {"scaling_factor": 0.13025, "force_upcast": True}
_FLUX = {
    "latent_channels": 16,
    "use_quant_conv": False,
    "use_post_quant_conv": False,
    "scaling_factor": 0.3611,
    "shift_factor": 0.1159,
}
_CLIP_L = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "projection_dim": 768,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "hidden_act": "quick_gelu",
}
_BIG_G = {
    "vocab_size": 49408,
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "projection_dim": 1280,
    "num_attention_heads": 20,
    "num_hidden_layers": 32,
    "hidden_act": "gelu",
}
_T5_XXL = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_heads": 64,
    "num_layers": 24,
}
_TINY_TEXT = {
    "vocab_size": len(TOKENS),
    "hidden_size": 32,
    "intermediate_size": 64,
    "projection_dim": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
}
_TINY_T5 = {
    "vocab_size": 512,
    "d_model": 32,
    "d_kv": 16,
    "d_ff": 64,
    "num_heads": 2,
    "num_layers": 2,
}
_XL_UNET = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
}

FULL = {
    "sd15": Sizes({"sample_size": 64, "cross_attention_dim": 768}, _VAE | _SD, _CLIP_L),
    "sdxl": Sizes(
        _XL_UNET
        | {
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "transformer_layers_per_block": (1, 2, 10),
            "attention_head_dim": (5, 10, 20),
            "cross_attention_dim": 2048,
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        _VAE | _SDXL,
        _CLIP_L,
        _BIG_G,
    ),
    "flux": Sizes({"guidance_embeds": True}, _VAE | _FLUX, _CLIP_L, _T5_XXL),
}
TINY = {
    "sd15": Sizes(
        {
            "sample_size": 8,
            "block_out_channels": (32, 64, 64, 64),
            "layers_per_block": 1,
            "cross_attention_dim": 32,
            "attention_head_dim": 4,
            "norm_num_groups": 16,
        },
        _TINY_VAE | _SD,
        _TINY_TEXT,
    ),
    "sdxl": Sizes(
        _XL_UNET
        | {
            "sample_size": 16,
            "block_out_channels": (32, 64, 64),
            "layers_per_block": 1,
            "transformer_layers_per_block": (1, 1, 2),
            "attention_head_dim": (2, 4, 4),
            "norm_num_groups": 16,
            "cross_attention_dim": 64,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 80,
        },
        _TINY_VAE | _SDXL,
        _TINY_TEXT,
        _TINY_TEXT,
    ),
    "flux": Sizes(
        {
            "num_layers": 2,
            "num_single_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 32,
            "pooled_projection_dim": 32,
            "guidance_embeds": True,
            "axes_dims_rope": (4, 6, 6),
        },
        _TINY_VAE | _FLUX,
        _TINY_TEXT,
        _TINY_T5,
    ),
}
