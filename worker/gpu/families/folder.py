"""A diffusers folder to its pipeline: safetensors only, no network, no noise in the log."""

from typing import Any

import diffusers
import torch
import transformers

from shared.models import ModelCard


def from_folder(pipeline: Any, card: ModelCard, **options: Any) -> Any:
    """Load the card's folder as this class, on the CPU; raises `OSError` without one."""
    if not card.source.is_dir():  # or it would be taken for the name of a repository
        raise FileNotFoundError(f"{card.model_id}: no folder {card.source}")
    # Their warnings quote prompts, and their bars draw over the log.
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return pipeline.from_pretrained(
        card.source,
        dtype=getattr(torch, card.dtype),
        use_safetensors=True,
        local_files_only=True,
        **options,
    )
