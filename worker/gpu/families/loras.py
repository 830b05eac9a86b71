"""LoRAs on a loaded model: read from files on any thread, put in and switched on the engine's.

A model that no LoRA was ever put into runs without peft, and one whose LoRAs are off to the same
bits: a switched-off layer calls the layer inside it and nothing else.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, groupby
from typing import Any
from weakref import WeakSet

import torch
from diffusers.utils import (
    convert_state_dict_to_diffusers,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
    delete_adapter_layers,
)
from peft.tuners import tuners_utils
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open

from shared.add_ons import AddOn
from shared.errors import BadInput
from worker.gpu.families.device import translated
from worker.gpu.samples import Sample

# Several LoRAs in one model are meant.
warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
# Its own way to make empty layers is one for all threads: a model that is loaded meanwhile by
# another would be left without its weights, and every one after it.
tuners_utils.init_empty_weights = partial(torch.device, "meta")

FILES_KEPT = 8
LOADED_KEPT = 8
"""In the model, beside those that begun samples use; one of SDXL is some hundred megabytes."""
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
SETTINGS = {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "use_rslora"}
"""What counts of a file's own: others would drop values at random, or change the model below."""

Tensors = Mapping[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Lora:
    """A file that fits the model, as diffusers loads it."""

    name: str
    tensors: Tensors
    alphas: Any
    settings: Any
    """What the file says of how it was trained, where it does."""
    parts: frozenset[str]
    """Of the pipeline that it changes."""

    @property
    def adapter(self) -> str:
        """Its name as a module, which has no dots."""
        return f"lora_{self.name.encode().hex()}"


class Loras:
    """The LoRAs of one loaded model, put into its modules on first use."""

    def __init__(self, pipe: Any, model_id: str, denoiser: str, *encoders: str) -> None:
        """The parts by the names that `pipe`, a diffusers pipeline, has for them."""
        self._loader = type(pipe)
        self._model_id = model_id
        self._denoiser = denoiser
        parts = {name: getattr(pipe, name) for name in (denoiser, *encoders)}
        self._parts = {name: part for name, part in parts.items() if part is not None}
        # Taken now: afterwards the engine's thread may change a module while another reads it.
        self._shapes = _shapes(self._parts)
        self._read = lru_cache(FILES_KEPT)(self._read_uncached)
        self._loaded: dict[str, Lora] = {}
        self._layers: list[Any] = []
        self._active: tuple[tuple[str, float], ...] = ()
        self._begun: WeakSet[Sample] = WeakSet()

    def prepare(self, sample: Sample) -> None:
        """Read the sample's LoRAs, from any thread; raises `BadInput` for one that does not fit."""
        for lora in sample.loras:
            sample.read[lora.card] = self._read(lora.card)

    def activate(self, sample: Sample) -> None:
        """Switch the model to the sample's LoRAs; on the engine's thread.

        Raises `BadInput` for one that cannot be put in, which then has left nothing behind.
        """
        wanted = sample.key.loras
        if wanted:
            self._begun.add(sample)
        if wanted == self._active:
            return
        for card, _ in sample.loras:
            if card.name not in self._loaded:
                self._make_room(keep={name for name, _ in wanted})
                self._load(sample.read[card])
            self._loaded[card.name] = self._loaded.pop(card.name)  # the last one used is last
        self._switch(wanted)

    def _switch(self, wanted: tuple[tuple[str, float], ...]) -> None:
        active = [(self._loaded[name].adapter, strength) for name, strength in wanted]
        adapters = [adapter for adapter, _ in active]
        for layer in self._layers:
            layer.set_adapter(adapters)
            for adapter, strength in active:
                layer.set_scale(adapter, strength)
        self._active = wanted

    def _make_room(self, keep: set[str]) -> None:
        running = [sample for sample in self._begun if sample.denoising is not None]
        keep |= {card.name for sample in running for card, _ in sample.loras}
        unused = [lora for name, lora in self._loaded.items() if name not in keep]
        for lora in unused[: max(0, len(self._loaded) - LOADED_KEPT + 1)]:
            self._unload(lora)

    def _load(self, lora: Lora) -> None:
        try:
            for name in lora.parts:
                self._load_into(name, lora)
        except Exception as error:
            self._find_layers()
            self._unload(lora)
            if isinstance(error, RuntimeError) and translated(error):
                raise  # about the device, not about the file
            text = f"The LoRA {lora.name} cannot be put into {self._model_id}"
            raise BadInput(text) from error
        self._find_layers()
        self._loaded[lora.name] = lora

    def _find_layers(self) -> None:
        # Kept, because looking through all modules takes longer than switching these.
        modules = chain.from_iterable(part.modules() for part in self._parts.values())
        self._layers = [module for module in modules if isinstance(module, BaseTunerLayer)]

    def _load_into(self, name: str, lora: Lora) -> None:
        # On the meta device until their weights are there: nothing is drawn for them first.
        options = {
            "adapter_name": lora.adapter,
            "metadata": lora.settings,
            "low_cpu_mem_usage": True,
        }
        part, tensors = self._parts[name], dict(lora.tensors)
        trained = [weight for weight in part.parameters() if weight.requires_grad]
        try:
            if name == self._denoiser:
                part.load_lora_adapter(tensors, prefix=name, network_alphas=lora.alphas, **options)
            else:
                self._loader.load_lora_into_text_encoder(
                    tensors, lora.alphas, part, prefix=name, **options
                )
        finally:
            # peft freezes the part, and torch multiplies by frozen matrices with other bits.
            for weight in trained:
                weight.requires_grad_(True)

    def _unload(self, lora: Lora) -> None:
        self._switch(())
        for part in self._parts.values():
            delete_adapter_layers(part, lora.adapter)
        self._loaded.pop(lora.name, None)

    def _read_uncached(self, card: AddOn) -> Lora:
        try:
            with safe_open(card.source, framework="pt") as file:
                if any("dora" in key for key in file.keys()):  # noqa: SIM118 (it is no mapping)
                    raise BadInput(f"The LoRA {card.name} is a DoRA, which is not supported")
            tensors, alphas, settings = self._loader.lora_state_dict(
                card.source,
                use_safetensors=True,
                local_files_only=True,
                unet_config=self._parts[self._denoiser].config,
                return_alphas=True,
                return_lora_metadata=True,
            )
            tensors = self._converted(tensors)
        except BadInput:
            raise
        except Exception as error:
            # Converting raises what the names in the file happen to run into.
            raise BadInput(f"The LoRA {card.name} cannot be read") from error
        self._check(card.name, tensors)
        parts = frozenset(key.partition(".")[0] for key in tensors)
        if settings:
            settings = {k: v for k, v in settings.items() if k.partition(".")[2] in SETTINGS}
        return Lora(card.name, tensors, alphas, settings, parts)

    def _converted(self, tensors: Tensors) -> Tensors:
        """The layers by part, module, and `lora_A` or `lora_B`, however the file names them."""
        converted: dict[str, Any] = {}
        for part, group in groupby(sorted(tensors), key=lambda key: key.partition(".")[0]):
            own = {key.removeprefix(f"{part}."): tensors[key] for key in group}
            convert = self._denoiser_names if part == self._denoiser else self._encoder_names
            converted |= {f"{part}.{key}": tensor for key, tensor in convert(part, own).items()}
        return converted

    def _denoiser_names(self, _: str, tensors: Tensors) -> Tensors:
        if any(DOWN in key for key in tensors):
            return tensors
        return dict(convert_unet_state_dict_to_peft(tensors))

    def _encoder_names(self, part: str, tensors: Tensors) -> Tensors:
        named = convert_state_dict_to_peft(convert_state_dict_to_diffusers(tensors))
        # Newer transformers have no `text_model` in some encoders.
        around = "" if hasattr(self._parts.get(part), "text_model") else "text_model."
        return {key.removeprefix(around): tensor for key, tensor in named.items()}

    def _check(self, name: str, tensors: Tensors) -> None:
        """Every layer is one of the model's and fits there; raises `BadInput`."""
        modules = {key.removesuffix(DOWN).removesuffix(UP) for key in tensors}
        if not modules:
            raise BadInput(f"The LoRA {name} is empty")
        for module in modules:
            shape = self._shapes.get(module)
            if shape is None:
                raise BadInput(f"The LoRA {name} is not for {self._model_id}: {module[:200]!a}")
            if not _fits(tensors.get(module + DOWN), tensors.get(module + UP), shape):
                raise BadInput(f"The LoRA {name} does not fit {self._model_id}: {module[:200]!a}")
        if not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise BadInput(f"The LoRA {name} is damaged: not all of it is numbers")


def text_loras(sample: Sample) -> tuple[tuple[str, float], ...]:
    """The sample's LoRAs that change what a text encoder makes of a prompt."""
    return tuple(
        (lora.card.name, lora.strength)
        for lora in sample.loras
        if any(part.startswith("text_encoder") for part in sample.read[lora.card].parts)
    )


def _shapes(parts: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of the weights that a LoRA can change, by part and module."""
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    return {
        f"{part}.{name}": tuple(module.weight.shape)
        for part, modules in parts.items()
        for name, module in modules.named_modules()
        if isinstance(module, kinds)
    }


def _fits(down: Any, up: Any, shape: tuple[int, ...]) -> bool:
    if down is None or up is None or not down.dim() == up.dim() == len(shape):
        return False
    rank = down.shape[0]
    ends = (shape[0], rank, *(1 for _ in shape[2:]))
    return rank > 0 and tuple(down.shape[1:]) == shape[1:] and tuple(up.shape) == ends
