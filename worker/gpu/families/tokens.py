"""Latents as the tokens that Flux's transformer takes, and back."""

from typing import Any

import torch

PATCH = 2
"""A token is a square of so many latents, all their channels in a row."""


def packed(latents: Any) -> Any:
    """(1, channels, h, w) to (1, tokens, channels of a patch)."""
    squares = latents.unflatten(3, (-1, PATCH)).unflatten(2, (-1, PATCH))
    return squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpacked(tokens: Any, height: int, width: int) -> Any:
    """The latents again, `height` by `width` of them."""
    squares = tokens.unflatten(2, (-1, PATCH, PATCH)).unflatten(1, (height // PATCH, -1))
    return squares.permute(0, 3, 1, 4, 2, 5).reshape(1, -1, height, width)


def positions(height: int, width: int) -> Any:
    """(tokens, 3) for so many latents: plane, row and column of each token; the plane is 0."""
    rows, columns = torch.arange(height // PATCH), torch.arange(width // PATCH)
    return torch.cartesian_prod(torch.zeros(1, dtype=torch.long), rows, columns)
