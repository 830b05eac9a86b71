"""The parts of the demo model: Stable Diffusion 1.x in miniature, untrained."""

from typing import Any

from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionImg2ImgPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel

from infra.demo_model.latents import SCALING
from infra.demo_model.scenes import SIDE
from infra.demo_model.tokenizer import TOKENS, make_tokenizer

TEXT_WIDTH = 64
LATENT_SIDE = SIDE // 8


def make_vae() -> Any:
    """Three halvings, four latent channels; without attention, so that size does not matter."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=4,
        sample_size=SIDE,
        mid_block_add_attention=False,
        scaling_factor=SCALING,
    )


def make_unet() -> Any:
    """Three levels; the prompt is heard from the second on, where pixels are few and cheap."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        block_out_channels=(48, 96, 112),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


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
    )


def make_scheduler() -> Any:
    """Ends in almost pure noise: else a plain background would shine through at strength 1."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.024,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        steps_offset=1,
        clip_sample=False,
        set_alpha_to_one=False,
    )


def assemble(vae: Any, text_encoder: Any, unet: Any) -> Any:
    """The pipeline of these parts."""
    return StableDiffusionImg2ImgPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=make_tokenizer(TOKENS),
        unet=unet,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
