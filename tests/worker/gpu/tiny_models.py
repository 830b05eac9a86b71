"""Checkpoints of the true architectures in miniature, with random weights, as diffusers folders."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    EulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from infra.demo_model.tokenizer import TOKENS, make_tokenizer
from tests.worker.gpu.tiny_flux import build_flux
from tests.worker.gpu.tiny_sd import make_vae

SEED = 7
WIDTH = 32
"""Of each text encoder, and of the pooled embedding."""
TIME_WIDTH = 8


def save(folder: Path, model: str, demo_folder: Path) -> Path:
    """The model of this name; `sd` is the demo model."""
    match model.split("-"):
        case ["sd"]:
            return demo_folder
        case ["sd", "v"]:
            return save_v_prediction(folder, demo_folder)
        case ["sd", "inpainting"]:
            return save_inpainting_sd(folder, demo_folder)
        case ["sdxl", *kind]:
            channels = 9 if kind == ["inpainting"] else 4
            return save_sdxl(folder, channels=channels, refines=kind == ["refiner"])
        case ["flux", kind]:
            return build_flux(folder, kind=kind)
    raise KeyError(model)


def save_v_prediction(folder: Path, demo_folder: Path) -> Path:
    """The demo model's weights, said to predict velocities."""
    shutil.copytree(demo_folder, folder)
    file = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text()) | {"prediction_type": "v_prediction"}
    file.write_text(json.dumps(config))
    return folder


def save_inpainting_sd(folder: Path, demo_folder: Path) -> Path:
    """Stable Diffusion 1.x for inpainting: the tiny model with a UNet that sees the mask."""
    pipe = StableDiffusionImg2ImgPipeline.from_pretrained(demo_folder, safety_checker=None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        pipe.unet = UNet2DConditionModel.from_config({**pipe.unet.config, "in_channels": 9})
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def save_sdxl(folder: Path, *, channels: int = 4, refines: bool = False) -> Path:
    """Stable Diffusion XL: base, inpainting with 9 channels, or refiner."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        pipe = StableDiffusionXLImg2ImgPipeline(
            vae=make_sdxl_vae(),
            text_encoder=None if refines else make_text_encoder(CLIPTextModel, "quick_gelu"),
            text_encoder_2=make_text_encoder(CLIPTextModelWithProjection, "gelu"),
            tokenizer=None if refines else make_tokenizer(TOKENS),
            tokenizer_2=make_tokenizer(TOKENS),
            unet=make_sdxl_unet(channels, refines=refines),
            scheduler=make_sdxl_scheduler(),
            requires_aesthetics_score=refines,
            add_watermarker=False,
        )
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def make_sdxl_vae() -> Any:
    """The VAE of Stable Diffusion, scaled as XL's, and said to overflow in half precision."""
    vae = make_vae()
    vae.register_to_config(scaling_factor=0.13025, force_upcast=True)
    return vae


def make_sdxl_unet(channels: int, *, refines: bool) -> Any:
    """Three levels, deeper transformers further down, and the added conditions."""
    ids = 5 if refines else 6
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=channels,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 4),
        norm_num_groups=16,
        use_linear_projection=True,
        cross_attention_dim=WIDTH if refines else 2 * WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=ids * TIME_WIDTH + WIDTH,
    ).eval()


def make_text_encoder(kind: Any, activation: str) -> Any:
    """Two layers of CLIP; XL reads the last but one."""
    config = CLIPTextConfig(
        vocab_size=len(TOKENS),
        bos_token_id=len(TOKENS) - 2,
        eos_token_id=len(TOKENS) - 1,
        pad_token_id=len(TOKENS) - 1,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_attention_heads=4,
        num_hidden_layers=2,
        hidden_act=activation,
    )
    return kind(config).eval()


def make_sdxl_scheduler() -> Any:
    """As the base model has it."""
    return EulerDiscreteScheduler.from_config(
        {
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "clip_sample": False,
            "set_alpha_to_one": False,
            "skip_prk_steps": True,
            "steps_offset": 1,
            "timestep_spacing": "leading",
        }
    )
