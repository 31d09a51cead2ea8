"""Views of a region: random crops of its token grid, mirrored left-right or not, cut in one gather."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FLIP_PROBABILITY = 0.5  # as released; colour and blur have no meaning for tokens


class Crops(NamedTuple):
    """Grid rows and columns of V views of B regions; mirrored views count their columns down."""

    rows: NDArray[np.int64]  # (V, B, size)
    columns: NDArray[np.int64]  # (V, B, size)

    def of_regions(self, part: slice) -> "Crops":
        """The same views of some of the regions."""
        return Crops(self.rows[:, part], self.columns[:, part])


def crops_at(top: NDArray[np.int64], left: NDArray[np.int64], mirrored: NDArray[np.bool_], size: int) -> Crops:
    """Square crops from their upper left corners.

    Args:
        top: (V, B) first grid row.
        left: (V, B) first grid column.
        mirrored: (V, B) whether the crop is mirrored left-right.
        size: Side of the crops, patches.
    """
    steps = np.arange(size)
    columns = np.where(mirrored[..., None], steps[::-1], steps)
    return Crops(top[..., None] + steps, left[..., None] + columns)


def draw_crops(generator: np.random.Generator, n_views: int, n_regions: int, size: int, grid: int) -> Crops:
    """Random crops: every corner equally likely, mirrored with probability 0.5, all independent."""
    corners = generator.integers(0, grid - size + 1, (2, n_views, n_regions))
    mirrored = generator.random((n_views, n_regions)) < FLIP_PROBABILITY
    return crops_at(corners[0], corners[1], mirrored, size)


def centre_crops(n_regions: int, size: int, grid: int) -> Crops:
    """The one centre crop of every region; V = 1."""
    corner = np.full((1, n_regions), (grid - size) // 2)
    return crops_at(corner, corner, np.zeros((1, n_regions), bool), size)


def cut_views(tokens: Tensor, regions: NDArray[np.int64], crops: Crops) -> Tensor:
    """Cut views out of a cohort's tokens, on the tokens' device.

    Args:
        tokens: (R, grid, grid, D) tokens of the whole cohort.
        regions: (B,) which of the R regions.
        crops: The crops of these regions.

    Returns:
        (V * B, size, size, D) float32, view-major: the first B rows are view 0.
    """
    R, grid, _, D = tokens.shape
    patches = (regions[:, None, None] * grid + crops.rows[..., None]) * grid + crops.columns[..., None, :]
    V, B, size, _ = patches.shape  # patch p of region r is row r * grid * grid + p of the flat tokens
    index = torch.from_numpy(patches.reshape(-1)).to(tokens.device, non_blocking=True)
    cut = tokens.view(R * grid * grid, D).index_select(0, index)
    return cut.view(V * B, size, size, D).float()
