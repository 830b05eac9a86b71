"""What only a GPU worker needs to know."""

import socket
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import ByteSize, Field

from shared.config import Duration, Settings
from worker.gpu.decoder import DecoderLimits
from worker.gpu.families import IMAGE_CACHE
from worker.gpu.images import Bounds


class GpuSettings(Settings):
    """Settings, plus the worker's own. CUDA_VISIBLE_DEVICES pins the device, from outside."""

    worker_name: str = Field(default_factory=lambda: f"gpu-{socket.gethostname()}")
    """Unique among the workers of a deployment."""
    pools: str = "default"
    """Which pools it serves, with commas between: all their models, loaded while they fit."""
    vram_budget: ByteSize | None = None
    """What models may take together: bytes, or `20GiB`. None: most of an accelerator, on a CPU
    no limit."""
    slots: int = 16
    """Jobs in flight: more than fill the largest batch, so that inputs are ready in time."""
    buckets: Annotated[str, Field(pattern=r"^[1-9][0-9]*(,[1-9][0-9]*)*$")] = "1,2,3,4,5,6,7,8"
    """Row counts a step is padded to. A single one: the same bits, whoever shares the batch."""
    strict_bucket: Annotated[int, Field(ge=1)] = 1
    """Rows of every step of strict samples, where the model's `max_batch` allows as many. 1 fits
    wherever anything fits and pads nothing; more lets them share steps, and is other bits."""
    image_cache: Annotated[int, Field(ge=0)] = IMAGE_CACHE
    """Bytes of encoded init images that each model's VAE keeps on the device."""
    fetch_timeout: Duration = timedelta(seconds=15)
    """For an image at a client-given address, from its name to its last byte."""
    decoders: Annotated[int, Field(ge=1)] = 2
    """Processes that decode what clients send."""
    decode_work: Duration = timedelta(seconds=4)
    """What one image may cost its decoder's processor. Whatever exceeds a limit fails its job."""
    decode_wall: Duration = timedelta(seconds=30)
    """The same by the clock; on a busy host a decoder may wait for its turn."""
    decode_memory: Annotated[ByteSize, Field(ge=300_000_000)] = ByteSize(1_200_000_000)
    """Of address space, for a decoder as a whole; 150 MB of it before the first pixel."""
    image_pixels: Annotated[int, Field(ge=1)] = Bounds().pixels
    image_side: Annotated[int, Field(ge=1)] = Bounds().side
    """Pixels that an image may have, in all and on its longer side."""
    drain: Duration = timedelta(seconds=10)
    """After SIGTERM, how long running jobs may still finish before they are handed back."""
    job_timeout: Duration = timedelta(minutes=10)
    stall_timeout: Duration = timedelta(seconds=120)
    """A device call that takes longer ends the process: no lease outlives a hung device."""
    embed_parameters: bool = True
    """Whether prompts and settings are written into the image files, as the web UI does it."""
    metrics_port: int = 0
    """Serves Prometheus metrics when not 0."""
    metrics_host: str = "0.0.0.0"  # noqa: S104 - in a container, where no other address is reached
    ready_file: Path | None = None
    """Written when the models are warm and the worker consumes."""
    retry_delay: Duration = timedelta(seconds=2)
    """Before a job whose attempt failed for a reason of ours is tried again."""

    @property
    def pool_names(self) -> set[str]:
        """`pools`, split."""
        return {pool.strip() for pool in self.pools.split(",")}

    @property
    def bucket_sizes(self) -> tuple[int, ...]:
        """`buckets`, split."""
        return tuple(int(bucket) for bucket in self.buckets.split(","))

    @property
    def decoder_limits(self) -> DecoderLimits:
        """What one image may cost."""
        return DecoderLimits(
            work=self.decode_work.total_seconds(),
            wall=self.decode_wall.total_seconds(),
            memory=self.decode_memory,
            bounds=Bounds(bytes=self.image_bytes, pixels=self.image_pixels, side=self.image_side),
        )
