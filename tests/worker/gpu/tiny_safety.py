"""A safety checker of the true architecture in miniature, with random weights."""

from pathlib import Path
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import CLIPConfig, CLIPImageProcessor, CLIPVisionConfig

SEED = 11
SIDE = 32
WIDTH = 32
NEVER, ALWAYS = 2.0, -2.0
"""Thresholds beyond what a cosine can be."""


def make_processor() -> Any:
    """As beside the checker of Stable Diffusion 1.5, smaller."""
    return CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=SIDE)


def make_checker(threshold: float = NEVER) -> Any:
    """All of its thresholds are the same."""
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=8,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        config = CLIPConfig(vision_config=vision.to_dict(), projection_dim=WIDTH)
        checker = StableDiffusionSafetyChecker(config).eval()
        checker.concept_embeds.normal_()
        checker.special_care_embeds.normal_()
        checker.concept_embeds_weights.fill_(threshold)
        checker.special_care_embeds_weights.fill_(threshold)
    return checker


def save(folder: Path, checker: Any) -> Path:
    """As a stand-alone folder."""
    checker.save_pretrained(folder)
    make_processor().save_pretrained(folder)
    return folder
