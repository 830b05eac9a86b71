"""Images to latents and back, in the precision that the plain pipelines use.

What does not fit is tried in tiles, and what overflows in float32; `Sample.degraded` says so. A
strict sample's bits must not depend on the memory that others left, so it is never tiled.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor

from shared.errors import NoPicture
from worker.gpu.families import IMAGE_CACHE, DeviceMemoryFull
from worker.gpu.families.caches import Cache
from worker.gpu.families.copies import HostCopy
from worker.gpu.families.device import on_device
from worker.gpu.families.pixels import to_bytes, to_mask, to_tensor
from worker.gpu.samples import Pixels, Sample

TILED, IN_FLOAT32 = "vae_tiling", "vae_float32"
TILE_MULTIPLE = 4
"""In latents: tiles overlap by a quarter, which must be whole."""
NOT_A_NUMBER = "the model's latents are not numbers: no picture came of this request"
OVERFLOWED = "the model's decoder overflows, in float32 too: no picture came of this request"


@dataclass(frozen=True, eq=False, slots=True)
class Decoding:
    """A picture that the device may still be decoding."""

    pixels: HostCopy
    is_finite: HostCopy

    def read(self) -> tuple[Pixels, bool]:
        """The pixels, and whether they were all numbers."""
        return self.pixels.read().numpy(), bool(self.is_finite.read())


class Vae:
    """A loaded `AutoencoderKL`; latents outside of it are scaled, and of the denoiser's type."""

    def __init__(self, vae: Any, *, upcast: bool = False, image_cache: int = IMAGE_CACHE) -> None:
        """With `upcast` a VAE whose config says that it overflows runs in float32.

        Both of its halves do for a float16 denoiser, the encoder alone for a bfloat16 one.
        `image_cache` is in bytes.
        """
        self._dtype = vae.dtype
        self._vae = vae
        self._device = vae.device
        self._encoder_dtype = self._decoder_dtype = vae.dtype
        self._posteriors: Cache[tuple[Any, Any]] = Cache("image", image_cache, _bytes)
        if upcast and vae.config.force_upcast:
            self._encoder_dtype = _to_float32(vae.encoder, vae.quant_conv)
            if self._dtype == torch.float16:
                self._decoder_dtype = _to_float32(vae.decoder, vae.post_quant_conv)

    def noise(self, size: Sequence[int], generator: Any) -> Any:
        """Draw noise in the shape of the latents of an image, (height, width)."""
        return self._draw(size, generator, self._dtype)

    def encode(self, sample: Sample, generator: Any) -> Any:
        """The sample's image to latents, drawn from the posterior."""
        return self._drawn(self._posterior(sample, _names(sample)[:1], _image), generator)

    def encode_mode(self, sample: Sample) -> Any:
        """The sample's image to latents, the likeliest ones: no draw."""
        mean, _ = self._posterior(sample, _names(sample)[:1], _image)
        return self._scaled(mean.to(self._dtype))

    def encode_kept(self, sample: Sample, generator: Any) -> Any:
        """The same of what the mask keeps of the image, the rest in grey."""
        return self._drawn(self._posterior(sample, _names(sample), _kept), generator)

    def skip_encode(self, size: Sequence[int], generator: Any) -> None:
        """Leave the generator as `encode` would, where only its draw makes a difference."""
        self._draw(size, generator, self._encoder_dtype)

    def begin_decoding(self, latents: Any, sample: Sample) -> "Decoding":
        """Latents to pixels, which the device may still be at."""
        unscaled = latents.to(self._decoder_dtype) / self._vae.config.scaling_factor
        if shift := self._vae.config.shift_factor:
            unscaled = unscaled + shift
        decoded = self._fitting(self._vae.decode, unscaled, sample).sample
        return Decoding(HostCopy(to_bytes(decoded)), HostCopy(decoded.isfinite().all()))

    def decode(self, latents: Any, sample: Sample, begun: "Decoding | None" = None) -> Pixels:
        """Latents to pixels; raises `NoPicture` where there are none to see.

        Half precision that gives no numbers, or black, is decoded again in float32.
        """
        begun = begun or self.begin_decoding(latents, sample)
        pixels, is_finite = begun.read()
        if is_finite and pixels.any():
            return pixels
        if not latents.isfinite().all():
            raise NoPicture(NOT_A_NUMBER)
        if self._decoder_dtype != torch.float32:
            sample.degraded.add(IN_FLOAT32)
            with self._decoder_in_float32():
                pixels, is_finite = self.begin_decoding(latents.float(), sample).read()
        if not is_finite:
            raise NoPicture(OVERFLOWED)
        return pixels  # black, if in either precision

    def _posterior(
        self, sample: Sample, name: tuple[bytes, ...], make: Callable[[Sample], Any]
    ) -> tuple[Any, Any]:
        """Mean and standard deviation, encoded once for all samples that start from the image."""
        if (kept := self._posteriors.get(name)) is not None:
            return kept
        rounded = make(sample).to(self._device, self._dtype).to(self._encoder_dtype)
        distribution = self._fitting(self._vae.encode, rounded, sample).latent_dist
        posterior = distribution.mean, distribution.std
        if TILED not in sample.degraded:
            self._posteriors.put(name, posterior)
        return posterior

    def _drawn(self, posterior: tuple[Any, Any], generator: Any) -> Any:
        mean, std = posterior
        noise = randn_tensor(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return self._scaled((mean + std * noise).to(self._dtype))

    def _scaled(self, latents: Any) -> Any:
        if shift := self._vae.config.shift_factor:
            latents = latents - shift
        return self._vae.config.scaling_factor * latents

    def _fitting(self, call: Callable[[Any], Any], tensor: Any, sample: Sample) -> Any:
        try:
            return on_device(call, tensor)
        except DeviceMemoryFull:
            if sample.strict:
                raise
        sample.degraded.add(TILED)
        with self._tiled(max(sample.height, sample.width)):
            return on_device(call, tensor)

    @contextmanager
    def _tiled(self, side: int) -> Iterator[None]:
        """Half of the longer side at a time, also where a VAE would not think of tiles yet."""
        vae, factor = self._vae, self._factor
        before = vae.use_tiling, vae.tile_latent_min_size, vae.tile_sample_min_size
        tile = -(-side // factor // (2 * TILE_MULTIPLE)) * TILE_MULTIPLE
        vae.enable_tiling()
        vae.tile_latent_min_size, vae.tile_sample_min_size = tile, factor * tile
        try:
            yield
        finally:
            vae.use_tiling, vae.tile_latent_min_size, vae.tile_sample_min_size = before

    @contextmanager
    def _decoder_in_float32(self) -> Iterator[None]:
        vae = self._vae
        before, dtype = (vae.decoder, vae.post_quant_conv), self._decoder_dtype
        # Copies, so that what was compiled or captured with the tensors of now still fits after.
        vae.decoder, vae.post_quant_conv = (part and deepcopy(part).float() for part in before)
        self._decoder_dtype = torch.float32
        try:
            yield
        finally:
            vae.decoder, vae.post_quant_conv = before
            self._decoder_dtype = dtype

    def _draw(self, size: Sequence[int], generator: Any, dtype: Any) -> Any:
        shape = (1, self._vae.config.latent_channels, *(side // self._factor for side in size))
        return randn_tensor(shape, generator=generator, device=self._device, dtype=dtype)

    @property
    def _factor(self) -> int:
        halvings: int = len(self._vae.config.block_out_channels) - 1
        return 1 << halvings


def digests(sample: Sample) -> tuple[bytes, ...]:
    """Name the pixels that a sample starts from by their content."""
    return tuple(_digest(pixels) for pixels in (sample.image, sample.mask) if pixels is not None)


def _names(sample: Sample) -> tuple[bytes, ...]:
    return sample.digests or digests(sample)


def _digest(pixels: Pixels) -> bytes:
    content = hashlib.blake2b(repr(pixels.shape).encode())
    content.update(np.ascontiguousarray(pixels).data)
    return content.digest()


def _image(sample: Sample) -> Any:
    assert sample.image is not None
    return to_tensor(sample.image)


def _kept(sample: Sample) -> Any:
    assert sample.mask is not None
    return _image(sample) * (1 - to_mask(sample.mask))


def _bytes(posterior: tuple[Any, Any]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in posterior)


def _to_float32(*parts: Any) -> Any:
    for part in parts:
        if part is not None:  # some VAEs have no convolution next to the latents
            part.float()
    return torch.float32
