"""What differs between model families, behind one protocol; the only place that imports torch.

A new family is one module with `load(card, device)` and one line in `FAMILIES`.

sd, sdxl           what is loaded, and how a prompt becomes what the UNet is told
unet               the pipeline that they share
flux               the pipeline of Flux.1
starts             what a sample starts from: noise, an image, an image around a mask
prompt_embeddings  prompts of any length, with weights, to the states of a text encoder
schedulers         one sample's own scheduler; flow_schedules for models that match flows
vae                images to latents and back
pixels             bytes to tensors and back
weights            reads a diffusers folder or a single file; memory counts what that takes
device             how torch is called
"""

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from shared.models import ModelCard
    from worker.gpu.memory import Memory
    from worker.gpu.samples import Picture, Sample

FAMILIES = {
    "sd": "worker.gpu.families.sd",
    "sdxl": "worker.gpu.families.sdxl",
    "flux": "worker.gpu.families.flux",
}
"""Modules by name, so that only the families in use are imported, torch with them."""
DEVICE = "worker.gpu.families.device"
MEMORY = "worker.gpu.families.memory"


class DeviceMemoryFull(Exception):
    """The call did not fit; the device works on."""


class DeviceLost(Exception):
    """The device answers no more calls of this process."""


class Pipeline(Protocol):
    """A loaded model. Every call may raise `DeviceMemoryFull` or `DeviceLost`.

    A step comes in two halves: `predict` is shared by a batch and changes nothing, so it can be
    repeated; `advance` moves one sample and happens once.
    """

    @property
    def card(self) -> "ModelCard":
        """The model's line of the allow-list."""

    def prepare(self, sample: "Sample") -> None:
        """Read the prompts as far as the batch key needs it: sets `chunks`.

        Takes no device, and is called by the thread that submits the sample.
        """

    def begin(self, sample: "Sample") -> None:
        """Encode prompt and image; sets `denoising` and `total`. Raises `BadInput`."""

    def predict(self, samples: Sequence["Sample"], rows: int) -> list[Any]:
        """One denoiser forward for samples of one `BatchKey`, padded to `rows`.

        The answer has one prediction per sample; its type is the family's own.
        """

    def advance(self, sample: "Sample", prediction: Any) -> None:
        """Take the sample's own scheduler step; counts `step` up."""

    def finish(self, sample: "Sample") -> "Picture":
        """Decode what the sample has become."""


def load(card: "ModelCard", device: str) -> Pipeline:
    """Load a model onto a device (`cpu`, `cuda`, `cuda:1`); raises `OSError` without weights."""
    family, torch_device = import_module(FAMILIES[card.family]), import_module(DEVICE)
    if device == "cpu":
        torch_device.make_room()
    return cast(
        "Pipeline", torch_device.Guarded(torch_device.in_our_errors(family.load, card, device))
    )


def device_memory(device: str, budget: int | None) -> "Memory":
    """What models may take of a device's memory, in bytes; None: all but room for the work."""
    return cast("Memory", import_module(MEMORY).DeviceMemory(device, budget))


def pick_device() -> str:
    """`cuda` where torch sees one, else `cpu`; `CUDA_VISIBLE_DEVICES` decides which one it sees."""
    return cast("str", import_module(DEVICE).pick())
