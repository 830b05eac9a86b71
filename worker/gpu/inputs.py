"""What a job starts from: its images, fetched, decoded and brought to one size."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from shared.egress import Guard, Outbound, OutboundError
from shared.errors import BadInput
from shared.jobs import Params
from shared.models import Limits
from shared.object_store import ObjectStore, possible_keys
from worker.gpu import images
from worker.gpu.samples import Pixels

Fetch = Callable[[str, str], bytes]
"""(address or key, field) -> bytes; raises BadInput."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The size to paint, and what to start from."""

    width: int
    height: int
    image: Pixels | None = None
    """(height, width, 3) RGB."""
    mask: Pixels | None = None
    """(height, width), 0 or 255."""


def fetch_with(store: ObjectStore, guard: Guard, *, attempts: int = 1) -> Fetch:
    """Uploads and outputs come from our bucket, addresses through the guarded client.

    A link to an output names its first attempt; one of so many may have made it.
    """

    async def download(url: str) -> bytes:
        async with Outbound(guard) as outbound:
            return await outbound.download(url)

    def fetch(source: str, field: str) -> bytes:
        if key := source if source.startswith("inputs/") else store.own_key(source):
            for place in (key, *possible_keys(*key.split("/"), attempts=attempts)):
                with suppress(FileNotFoundError):
                    return store.get(place).body
            raise BadInput(f"The {field} is not there any more")
        try:
            return asyncio.run(download(source))
        except OutboundError as error:
            text = f"Unable to fetch image from provided URL ({field}: {error.reason})"
            raise BadInput(text) from None

    return fetch


def picture(params: Params, fetch: Fetch) -> Pixels:
    """The init image as it is, (height, width, 3) RGB; raises BadInput."""
    assert params.init_image is not None
    image = images.decode(fetch(params.init_image, "init_image"), "init_image")
    return images.init_pixels(image, *image.size)


def prepare(params: Params, limits: Limits, fetch: Fetch) -> Inputs:
    """The pixels of a job; raises BadInput that names the field."""
    if params.init_image is None:
        own = (limits.default_side, limits.default_side)
        return Inputs(*images.target_size(own, params.width, params.height, limits))
    image = images.decode(fetch(params.init_image, "init_image"), "init_image")
    width, height = images.target_size(image.size, params.width, params.height, limits)
    mask = None
    if params.mask_image:
        mask = images.mask_pixels(fetch(params.mask_image, "mask_image"), width, height)
    return Inputs(width, height, images.init_pixels(image, width, height), mask)
