"""What the demo model's latents mean.

It is decided beforehand, so that all parts of the model can learn at the same time.
"""

from typing import Any

import torch
from torch.nn.functional import avg_pool2d

SCALING = 1.4
"""Makes their spread about 1."""


def to_tensor(picture: Any) -> Any:
    """(side, side, 3) of uint8 as (3, side, side) from -1 to 1."""
    return torch.from_numpy(picture).permute(2, 0, 1) / 127.5 - 1


def ideal_latents(pictures: Any) -> Any:
    """Of each 8 x 8 pixels the mean colour, and how much they differ.

    From (n, 3, h, w) to (n, 4, h / 8, w / 8), unscaled.
    """
    colours = avg_pool2d(pictures, 8)
    variance = avg_pool2d(pictures.square(), 8) - colours.square()
    contrast = variance.mean(dim=1, keepdim=True).clamp(min=0).sqrt()
    return torch.cat([colours, contrast], dim=1)
