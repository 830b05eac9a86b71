"""Pixels to the tensors that a VAE takes and back, bit for bit as diffusers converts them."""

from typing import Any

import numpy as np
import torch

from worker.gpu.samples import Pixels

REPAINTED = 128


def to_tensor(image: Pixels) -> Any:
    """(height, width, 3) bytes to (1, 3, height, width) floats from -1 to 1, on the CPU."""
    # Divided by numpy: a GPU divides by a constant as it multiplies by the reciprocal, other bits.
    floats = image.astype(np.float32) / 255.0
    # Strides as in diffusers: a convolution chooses its kernel by them, and with it the bits.
    return 2.0 * torch.from_numpy(floats[None]).permute(0, 3, 1, 2) - 1.0


def to_mask(mask: Pixels) -> Any:
    """Bytes to (1, 1, height, width) zeros and ones, on the CPU; from `REPAINTED` on it is one."""
    return torch.from_numpy((mask >= REPAINTED).astype(np.float32))[None, None]


def to_bytes(decoded: Any) -> Any:
    """(1, 3, height, width) floats around -1 to 1 to (height, width, 3) bytes, where they are."""
    unit = (decoded * 0.5 + 0.5).clamp(0, 1)
    scaled = unit[0].permute(1, 2, 0).float() * 255
    return scaled.round().to(torch.uint8)
