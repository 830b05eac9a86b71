"""The VAE that a request chose, or the model's own."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from diffusers import AutoencoderKL
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from safetensors.torch import load_file

from shared.add_ons import AddOn
from shared.errors import BadInput
from worker.gpu.families.device import GLOBALS
from worker.gpu.samples import Sample

FILES_KEPT = 2
"""Beside those that samples hold; on the device once one was used, some hundred megabytes."""

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Chosen(Generic[T]):
    """A VAE that was read; on the device, and wrapped, from its first use on."""

    vae: Any
    wrapped: T | None = None


class Vaes(Generic[T]):
    """The VAEs of one loaded model, as its family wraps an `AutoencoderKL`."""

    def __init__(self, own: Any, model_id: str, wrap: Callable[[Any], T]) -> None:
        self._config = dict(own.config)
        self._device, self._dtype = own.device, own.dtype
        self._model_id = model_id
        self._wrap = wrap
        self._own = wrap(own)
        self._read = lru_cache(FILES_KEPT)(self._read_uncached)

    def prepare(self, sample: Sample) -> None:
        """Read the sample's VAE, from any thread; raises `BadInput` for one that does not fit."""
        if sample.vae is not None:
            sample.read[sample.vae] = self._read(sample.vae)

    def of(self, sample: Sample) -> T:
        """The sample's VAE; on the engine's thread."""
        if sample.vae is None:
            return self._own
        chosen: Chosen[T] = sample.read[sample.vae]
        if chosen.wrapped is None:
            chosen.wrapped = self._wrap(chosen.vae.to(self._device))
        return chosen.wrapped

    def _read_uncached(self, card: AddOn) -> Chosen[T]:
        try:
            vae = _read(card.source, self._config)
        except Exception as error:
            # Converting raises what the names in the file happen to run into.
            raise BadInput(f"The VAE {card.name} cannot be read") from error
        if _latents(vae.config) != _latents(self._config):
            raise BadInput(f"The VAE {card.name} does not fit {self._model_id}: other latents")
        return Chosen(vae.to(self._dtype).eval())


def _read(source: Path, config: Mapping[str, Any]) -> Any:
    """A folder with its own config; a file, in either naming, with the config of the model's VAE.

    `from_pretrained` would change torch's defaults meanwhile, also for the engine's thread.
    """
    if source.is_dir():
        config = json.loads((source / "config.json").read_text())
        source = source / "diffusion_pytorch_model.safetensors"
    tensors = load_file(source)
    if not any(name.startswith("encoder.down_blocks") for name in tensors):
        tensors = convert_ldm_vae_checkpoint(tensors, config)
    with GLOBALS:
        with torch.device("meta"):
            vae = AutoencoderKL.from_config(config)
        vae.load_state_dict(tensors, assign=True)
    return vae


def _latents(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the denoiser would notice of another VAE."""
    halvings = len(config["block_out_channels"]) - 1
    shifted = [config.get(name) is not None for name in ("shift_factor", "latents_mean")]
    return config["latent_channels"], halvings, *shifted
