"""What a job starts from: its images, fetched, decoded and brought to one size."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from shared.egress import Guard, Outbound, OutboundError
from shared.errors import BadInput
from shared.images import MAX_BYTES
from shared.jobs import Params
from shared.models import Limits
from shared.object_store import ObjectStore, possible_keys
from worker.gpu.images import Wanted, target_size
from worker.gpu.samples import Pixels

FETCH_SECONDS = 15
Fetch = Callable[[str, str], bytes]
"""(address or key, field) -> bytes; raises BadInput."""
Decode = Callable[[bytes, Wanted], Pixels]
"""`images.pixels`, where it can do no harm; raises BadInput."""
ANY_SIZE = Limits(min_side=8, max_side=8192, multiple=1)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The size to paint, and what to start from."""

    width: int
    height: int
    image: Pixels | None = None
    """(height, width, 3) RGB."""
    mask: Pixels | None = None
    """(height, width), 0 or 255."""


def fetch_with(
    store: ObjectStore,
    guard: Guard,
    *,
    attempts: int = 1,
    limit_bytes: int = MAX_BYTES,
    seconds: float = FETCH_SECONDS,
) -> Fetch:
    """Uploads and outputs come from our bucket, addresses through the guarded client.

    A link to an output names its first attempt; one of so many may have made it. All downloads
    share a thread, which ends with the process.
    """
    loop = _loop_of_its_own()

    async def download(url: str) -> bytes:
        async with Outbound(guard) as outbound:
            return await outbound.download(url, limit_bytes=limit_bytes, seconds=seconds)

    def fetch(source: str, field: str) -> bytes:
        if key := source if source.startswith("inputs/") else store.own_key(source):
            for place in (key, *possible_keys(*key.split("/"), attempts=attempts)):
                with suppress(FileNotFoundError):
                    return store.get(place).body
            raise BadInput(f"The {field} is not there any more")
        try:
            return asyncio.run_coroutine_threadsafe(download(source), loop).result()
        except OutboundError as error:
            text = f"Unable to fetch image from provided URL ({field}: {error.reason})"
            raise BadInput(text) from None

    return fetch


def _loop_of_its_own() -> asyncio.AbstractEventLoop:
    # A loop for each download, on its caller's thread, takes the engine's thread twice the time.
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="downloads", daemon=True).start()
    return loop


def picture(params: Params, fetch: Fetch, decode: Decode) -> Pixels:
    """The init image in its own size, (height, width, 3) RGB; raises BadInput."""
    assert params.init_image is not None
    wanted = Wanted(field="init_image", limits=ANY_SIZE)
    return decode(fetch(params.init_image, wanted.field), wanted)


def prepare(params: Params, limits: Limits, fetch: Fetch, decode: Decode) -> Inputs:
    """The pixels of a job; raises BadInput that names the field."""
    width, height = params.width, params.height
    if params.init_image is None:
        own = (limits.default_side, limits.default_side)
        return Inputs(*target_size(own, width, height, limits))
    wanted = Wanted(field="init_image", width=width, height=height, limits=limits)
    image = decode(fetch(params.init_image, wanted.field), wanted)
    height, width, _ = image.shape
    mask = None
    if params.mask_image:
        wanted = Wanted(field="mask_image", width=width, height=height, is_mask=True)
        mask = decode(fetch(params.mask_image, wanted.field), wanted)
    return Inputs(width, height, image, mask)
