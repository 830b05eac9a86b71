"""Reads a model: safetensors, from this disk, in silence; equal parts of models are read once."""

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from shared.checkpoints import INDEX, Manifest, loaded_parts, pickles, sha256, weight_files
from shared.models import ModelCard, PromptEnhancer
from worker.gpu.families.device import globals_guarded

SHARED = frozenset({"AutoencoderKL", "T5EncoderModel"})
"""Parts by their classes that models have in common and that stay as they were read.

Not CLIP's encoders: LoRAs and learned words are put into them where they are.
"""


@dataclass(frozen=True, slots=True)
class Part:
    """Where a part of a model was read from, and as what."""

    folder: Path
    kind: str
    dtype: str
    device: str

    def equals(self, other: "Part") -> bool:
        """Whether both are the same numbers in the same form, by the digests of their files."""
        mine, theirs = (
            (part.kind, part.dtype, part.device, sizes(part.folder)) for part in (self, other)
        )
        return mine == theirs and digests(self.folder) == digests(other.folder)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A module that some model holds; gone when none does any more."""

    model_id: str
    module: "weakref.ref[Any]"
    part: Part | None


_loaded: list[Loaded] = []
"""What is in the memory of this process."""


def read(pipeline: Any, card: ModelCard, device: str, **options: Any) -> Any:
    """A pipeline of this class, or a model alone, on the device.

    Raises `OSError` without its files and `ValueError` for files that are not to be read.
    """
    check_files(card)
    # Their warnings quote prompts, and their bars draw over the log.
    for library in (diffusers, transformers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    options |= {"dtype": getattr(torch, card.dtype), "local_files_only": True}
    twins = equal_parts(card, device)
    with globals_guarded():
        if card.is_single_file:
            pipe = pipeline.from_single_file(str(card.source), config=str(card.config), **options)
        else:
            pipe = pipeline.from_pretrained(card.source, use_safetensors=True, **options, **twins)
    pipe.to(device)
    shareable = _shareable(card, device)
    for name, module in getattr(pipe, "components", {"": pipe}).items():
        if isinstance(module, torch.nn.Module):
            _loaded.append(Loaded(card.model_id, weakref.ref(module), shareable.get(name)))
    return pipe


def check_files(card: ModelCard | PromptEnhancer) -> None:
    """Raises `OSError` for what is missing, before its name is taken for that of a repository."""
    if isinstance(card, ModelCard) and card.is_single_file:
        assert card.config is not None
        if not card.source.is_file():
            raise FileNotFoundError(f"{card.model_id}: source: no file {card.source}")
        _check_configs(card.model_id, card.config)
        return
    help_ = f"; `make models ARGS='fetch {card.model_id}'` fetches it" if card.hub else ""
    if not card.source.is_dir():
        raise FileNotFoundError(f"{card.model_id}: source: no folder {card.source}{help_}")
    if card.hub:
        manifest = Manifest.read(card.source)
        found = manifest.origin if manifest else "of unknown origin"
        if found != card.origin:
            raise FileNotFoundError(
                f"{card.model_id}: {card.source} is {found}, not {card.origin}{help_}"
            )


def equal_parts(card: ModelCard, device: str) -> dict[str, Any]:
    """Modules in memory that are what this model would read, by the names of its parts."""
    live = [(one.part, module) for one, module in alive() if one.part is not None]
    found = {}
    for name, part in _shareable(card, device).items():
        twins = (module for other, module in live if part.equals(other))
        if (twin := next(twins, None)) is not None:
            found[name] = twin
    return found


def alive(model_ids: Iterable[str] | None = None) -> list[tuple[Loaded, Any]]:
    """The modules in memory, of these models or of all."""
    _loaded[:] = [one for one in _loaded if one.module() is not None]
    chosen = [one for one in _loaded if model_ids is None or one.model_id in model_ids]
    return [(one, module) for one in chosen if (module := one.module()) is not None]


def is_shareable(card: ModelCard, kind: str) -> bool:
    """Whether a part of this class stays what its file says for as long as it is loaded."""
    # XL runs its VAE's halves in float32 beside a smaller type, and changes them where they are.
    changed = kind == "AutoencoderKL" and card.family == "sdxl" and card.dtype != "float32"
    return kind in SHARED and not changed


def sizes(folder: Path) -> list[tuple[str, int]]:
    """Names and sizes of a part's weights."""
    return [(path.name, path.stat().st_size) for path in weight_files(folder)]


def digests(folder: Path) -> list[str]:
    """Of a part's config and weights."""
    return [sha256(path) for path in (folder / "config.json", *weight_files(folder))]


def _shareable(card: ModelCard, device: str) -> dict[str, Part]:
    if card.is_single_file:  # its parts have no files of their own to compare
        return {}
    return {
        name: Part(card.source / name, kind, card.dtype, device)
        for name, kind in loaded_parts(card.source).items()
        if is_shareable(card, kind)
    }


def _check_configs(model_id: str, folder: Path) -> None:
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(f"{model_id}: config: no {INDEX} in {folder}")
    for name in loaded_parts(folder):
        if not any((folder / name).glob("*.json")):
            raise FileNotFoundError(f"{model_id}: config: no {name}/*.json in {folder}")
    # Parts that the file lacks are read from here, and not only from safetensors.
    if found := pickles(folder):
        raise ValueError(f"{model_id}: config: {found[0]} is a pickle; only safetensors are read")
