"""Embedding regions with a trained network."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slpd.method.views import centre_crops, cut_views

BATCH = 64  # regions at a time: bounds memory, changes nothing else


@torch.no_grad()
def embed_regions(encode: Callable[[Tensor], Tensor], tokens: Tensor, crop: int) -> NDArray[np.float32]:
    """One vector per region, from its centre crop.

    Args:
        encode: (B, crop, crop, token width) float32 tokens -> (B, D) vectors.
        tokens: (R, grid, grid, token width) tokens.
        crop: Side of the crop, patches; the grid's side takes the whole region.

    Returns:
        (R, D).
    """
    parts = []
    for regions in np.split(np.arange(len(tokens)), range(BATCH, len(tokens), BATCH)):
        view = cut_views(tokens, regions, centre_crops(len(regions), crop, tokens.shape[1]))
        parts.append(encode(view).float().cpu().numpy())
    return np.concatenate(parts)
