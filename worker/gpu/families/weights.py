"""Reads a model from its diffusers folder: safetensors, from this disk, in silence."""

from typing import Any

import diffusers
import torch
import transformers

from shared.models import ModelCard


def read(pipeline: Any, card: ModelCard, device: str, **options: Any) -> Any:
    """A diffusers pipeline of this class on the device; raises `OSError` without its files."""
    if not card.source.is_dir():  # or it would be taken for the name of a repository
        raise FileNotFoundError(f"{card.model_id}: no folder {card.source}")
    # Their warnings quote prompts, and their bars draw over the log.
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    return pipeline.from_pretrained(
        card.source,
        dtype=getattr(torch, card.dtype),
        use_safetensors=True,
        local_files_only=True,
        **options,
    ).to(device)
