"""What differs between model families, behind one protocol; the only place that imports torch.

A new family is one module with `load(card, device, image_cache)` and one line in `FAMILIES`.

sd, sdxl           what is loaded, and how a prompt becomes what the UNet is told
unet               the pipeline that they share
flux, kontext      the pipelines of Flux.1; Kontext edits an image as it is told
tokens             latents as Flux's transformer takes them
denoiser           the network that a step calls, compiled or not
starts             what a sample starts from: noise, an image, an image around a mask
loras              what a request adds to a model: LoRAs, inside of its layers,
textual_inversion  learned words, in the place of tokens,
vaes               and another VAE
prompt_embeddings  prompts of any length, with weights, to the states of a text encoder
schedulers         one sample's own scheduler; flow_schedules for models that match flows
vae                images to latents and back
caches             what is kept of prompts and images
pixels             bytes to tensors and back; copies brings them to the host, unwaited for
safety             judges finished pictures: a model of one step that paints nothing
text               goes on with prompts, on the CPU: no family, no Pipeline
weights            reads a diffusers folder or a single file; memory counts what that takes
device             how torch is called
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from shared.models import ModelCard, PromptEnhancer
    from worker.gpu.memory import Memory
    from worker.gpu.samples import Picture, Sample

FAMILIES = {
    "sd": "worker.gpu.families.sd",
    "sdxl": "worker.gpu.families.sdxl",
    "flux": "worker.gpu.families.flux",
    "kontext": "worker.gpu.families.kontext",
    "safety": "worker.gpu.families.safety",
}
"""Modules by name, so that only the families in use are imported, torch with them."""
DEVICE = "worker.gpu.families.device"
MEMORY = "worker.gpu.families.memory"
CACHES = "worker.gpu.families.caches"
TEXT = "worker.gpu.families.text"
IMAGE_CACHE = 64 * 2**20
"""Bytes of encoded images that a VAE keeps; one of 1024x1024 is a megabyte or two."""

GoOn = Callable[[str, int], str]
"""(opening, seed) -> a longer prompt, the same one each time; raises `ValueError` without one."""


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
        """Read the sample as far as the batch key needs it, its images to name them, its files.

        Sets `chunks`, `context`, `digests` and `read`. Takes no device, and is called by the thread
        that submits the sample. Raises `BadInput` for a file that does not fit the model.
        """

    def begin(self, sample: "Sample") -> None:
        """Encode prompt and image; sets `denoising` and `total`. Raises `BadInput`.

        Here and in `finish` a call that does not fit may be done in other ways, unless the sample
        is strict; `degraded` names them.
        """

    def predict(self, samples: Sequence["Sample"], rows: int) -> list[Any]:
        """One denoiser forward for samples of one `BatchKey`, padded to `rows`.

        The answer has one prediction per sample; its type is the family's own.
        """

    def warm_up(self, sample: "Sample", rows: int) -> list[Any]:
        """As `predict`; what only the first forward of a shape does is done then."""

    def advance(self, sample: "Sample", prediction: Any) -> None:
        """Take the sample's own scheduler step; counts `step` up."""

    def develop(self, sample: "Sample") -> bool:
        """Begin to decode what the sample has become, once all steps are taken.

        True: the device is at it, so that `finish` had better wait until it has other work too.
        """

    def finish(self, sample: "Sample") -> "Picture":
        """Decode what the sample has become; raises `NoPicture` for what is none."""


def load(card: "ModelCard", device: str, image_cache: int = IMAGE_CACHE) -> Pipeline:
    """Load a model onto a device (`cpu`, `cuda`, `cuda:1`); raises `OSError` without weights.

    `image_cache` is the bytes of encoded images that it keeps.
    """
    family, torch_device = import_module(FAMILIES[card.family]), import_module(DEVICE)
    pace = None if device == "cpu" else torch_device.PACE
    if device == "cpu":
        torch_device.make_room()
    loaded = torch_device.in_our_errors(family.load, card, device, image_cache)
    return cast("Pipeline", torch_device.Guarded(loaded, pace))


def load_text_model(card: "PromptEnhancer") -> GoOn:
    """Load what goes on with prompts; raises `OSError` without weights."""
    return cast("GoOn", import_module(TEXT).load(card))


def forget_caches() -> None:
    """Hand out nothing any more of what is kept of prompts and images."""
    import_module(CACHES).forget_all()


def device_memory(device: str, budget: int | None) -> "Memory":
    """What models may take of a device's memory, in bytes; None: all but room for the work."""
    return cast("Memory", import_module(MEMORY).DeviceMemory(device, budget))


def pick_device() -> str:
    """`cuda` where torch sees one, else `cpu`; `CUDA_VISIBLE_DEVICES` decides which one it sees."""
    return cast("str", import_module(DEVICE).pick())
