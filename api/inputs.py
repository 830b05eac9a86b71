"""A job's images and addresses on their way in: stored, or checked as far as they show."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from api.errors import InvalidFields
from api.images import decode_base64, is_address
from shared.egress import Guard, Refused, check_url
from shared.jobs import Job
from shared.object_store import STORE_ERRORS, ObjectStore, input_key

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Inputs:
    """The images and the webhook of jobs."""

    store: ObjectStore
    guard: Guard
    most: int
    """Bytes of an image."""

    async def keep(self, job: Job) -> Job:
        """The job with its inline images stored; raises InvalidFields for what cannot be used."""
        return await self._with_images(job, partial(self._store, job.id))

    async def check(self, job: Job) -> None:
        """Raises what `keep` would; nothing is stored."""
        await self._with_images(job, lambda image: str(len(self._decode(image))))

    async def discard(self, job: Job) -> None:
        """Remove the uploads of a request that started no job; what cannot be removed stays."""
        inputs = (job.params.init_image, job.params.mask_image)
        keys = [key for key in inputs if key and not is_address(key)]
        try:
            await asyncio.to_thread(self.store.delete, keys)
        except (OSError, *STORE_ERRORS):
            log.warning("uploads not removed", extra={"keys": keys})

    async def _with_images(self, job: Job, keep: Callable[[str], str]) -> Job:
        if job.webhook and self.store.leads_here(self._address("webhook", job.webhook)):
            raise InvalidFields.of("webhook", "cannot be used: it leads back to this service")
        params = job.params
        init_image, mask_image = [
            image and await self._image(field, image, keep)
            for field, image in (
                ("init_image", params.init_image), ("mask_image", params.mask_image),
            )
        ]  # fmt: skip
        if (init_image, mask_image) == (params.init_image, params.mask_image):
            return job
        params = params.model_copy(update={"init_image": init_image, "mask_image": mask_image})
        return job.model_copy(update={"params": params})

    async def _image(self, field: str, image: str, keep: Callable[[str], str]) -> str:
        if is_address(image):
            # Of a link of ours no more than is needed is kept: a signature is a secret.
            is_own = self.store.own_key(image) is not None
            return image.partition("?")[0] if is_own else self._address(field, image)
        try:
            return await asyncio.to_thread(keep, image)
        except ValueError as error:
            raise InvalidFields.of(field, str(error)) from None

    def _store(self, job_id: int, image: str) -> str:
        data, key = self._decode(image), input_key()
        self.store.put(key, data, "application/octet-stream", job_id=job_id)
        return key

    def _decode(self, image: str) -> bytes:
        return decode_base64(image, most=self.most)

    def _address(self, field: str, url: str) -> str:
        try:
            return check_url(url, self.guard)
        except Refused as error:
            raise InvalidFields.of(field, f"cannot be used: {error.reason}") from None
