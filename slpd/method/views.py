"""Views of a region: random crops of its token grid, mirrored left-right or not, cut in one gather."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slpd.method.transfer import send

FLIP_PROBABILITY = 0.5  # as released; colour and blur have no meaning for tokens


class Crops(NamedTuple):
    """V square views of B regions; mirrored views count their columns down."""

    top: NDArray[np.int64]  # (V, B) first grid row
    left: NDArray[np.int64]  # (V, B) first grid column
    mirrored: NDArray[np.bool_]  # (V, B)
    size: int  # side, patches

    def of_regions(self, part: slice) -> "Crops":
        """The same views of some of the regions."""
        return Crops(self.top[:, part], self.left[:, part], self.mirrored[:, part], self.size)


def draw_crops(generator: np.random.Generator, n_views: int, n_regions: int, size: int, grid: int) -> Crops:
    """Random crops: every corner equally likely, mirrored with probability 0.5, all independent."""
    top, left = generator.integers(0, grid - size + 1, (2, n_views, n_regions))
    mirrored = generator.random((n_views, n_regions)) < FLIP_PROBABILITY
    return Crops(top, left, mirrored, size)


def centre_crops(n_regions: int, size: int, grid: int) -> Crops:
    """The one centre crop of every region; V = 1."""
    corner = np.full((1, n_regions), (grid - size) // 2)
    return Crops(corner, corner, np.zeros((1, n_regions), bool), size)


def cut_views(tokens: Tensor, places: NDArray[np.int64], crops: Crops) -> Tensor:
    """Cut views out of tokens, on the tokens' device; only corners travel there.

    Args:
        tokens: (R, grid, grid, D).
        places: (B,) which of the R regions.
        crops: The crops of these regions.

    Returns:
        (V, B, size, size, D), of the tokens' type.
    """
    R, grid, _, D = tokens.shape
    V, B = crops.top.shape
    corners = np.stack([crops.top, crops.left, crops.mirrored, np.broadcast_to(places, (V, B))])
    top, left, mirrored, region = send(corners, tokens.device)[..., None]
    steps = torch.arange(crops.size, device=tokens.device)
    rows = region * grid + top + steps  # (V, B, size)
    columns = left + torch.where(mirrored > 0, crops.size - 1 - steps, steps)
    patches = rows[..., None] * grid + columns[..., None, :]  # patch p of region r is row r * grid * grid + p
    return tokens.view(R * grid * grid, D).index_select(0, patches.flatten()).view(*patches.shape, D)
