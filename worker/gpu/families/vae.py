"""Images to latents and back, in the precision that the plain pipelines use."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor

from worker.gpu.families.pixels import to_pixels
from worker.gpu.samples import Pixels


class Vae:
    """A loaded `AutoencoderKL`; latents outside of it are scaled, and of the denoiser's type."""

    def __init__(self, vae: Any, *, upcast: bool = False) -> None:
        """With `upcast` a VAE whose config says that it overflows runs in float32.

        Both of its halves do for a float16 denoiser, the encoder alone for a bfloat16 one.
        """
        self._dtype = vae.dtype
        self._vae = vae
        self._device = vae.device
        self._encoder_dtype = self._decoder_dtype = vae.dtype
        if upcast and vae.config.force_upcast:
            self._encoder_dtype = _to_float32(vae.encoder, vae.quant_conv)
            if self._dtype == torch.float16:
                self._decoder_dtype = _to_float32(vae.decoder, vae.post_quant_conv)

    def noise(self, size: Sequence[int], generator: Any) -> Any:
        """Draw noise in the shape of the latents of an image, (height, width)."""
        return self._draw(size, generator, self._dtype)

    def encode(self, image: Any, generator: Any) -> Any:
        """(1, 3, height, width) from -1 to 1 to latents, drawn from the posterior."""
        rounded = image.to(self._device, self._dtype)
        posterior = self._vae.encode(rounded.to(self._encoder_dtype)).latent_dist
        return self._vae.config.scaling_factor * posterior.sample(generator).to(self._dtype)

    def skip_encode(self, size: Sequence[int], generator: Any) -> None:
        """Leave the generator as `encode` would, where only its draw makes a difference."""
        self._draw(size, generator, self._encoder_dtype)

    def decode(self, latents: Any) -> Pixels:
        """Latents to pixels."""
        unscaled = latents.to(self._decoder_dtype) / self._vae.config.scaling_factor
        return to_pixels(self._vae.decode(unscaled, return_dict=False)[0])

    def _draw(self, size: Sequence[int], generator: Any, dtype: Any) -> Any:
        config = self._vae.config
        factor = 2 ** (len(config.block_out_channels) - 1)
        shape = (1, config.latent_channels, *(side // factor for side in size))
        return randn_tensor(shape, generator=generator, device=self._device, dtype=dtype)


def _to_float32(*parts: Any) -> Any:
    for part in parts:
        if part is not None:  # some VAEs have no convolution next to the latents
            part.float()
    return torch.float32
