"""Views of a region: random crops of its token grid, mirrored left-right or not, cut in one gather.

Where patches are absent, a view is cut where enough are present: ours, since the method's regions are whole.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slpd.method.transfer import send

FLIP_PROBABILITY = 0.5  # as released; colour and blur have no meaning for tokens
ENOUGH = 0.5  # of the patches that the fullest crop of its size has in a region; ours


class Crops(NamedTuple):
    """V square views of B regions; mirrored views count their columns down."""

    top: NDArray[np.int64]  # (V, B) first grid row
    left: NDArray[np.int64]  # (V, B) first grid column
    mirrored: NDArray[np.bool_]  # (V, B)
    size: int  # side, patches

    def of_regions(self, part: slice) -> "Crops":
        """The same views of some of the regions."""
        return Crops(self.top[:, part], self.left[:, part], self.mirrored[:, part], self.size)


def draw_crops(
    generator: np.random.Generator,
    n_views: int,
    n_regions: int,
    size: int,
    grid: int,
    present: NDArray[np.bool_] | None = None,
) -> Crops:
    """Random crops: every corner with enough patches equally likely, mirrored with probability 0.5, all independent.

    Args:
        generator: Gives a region without absent patches the same crops whatever the other regions are.
        n_views: V.
        n_regions: B.
        size: Side of a crop, patches.
        grid: Side of a region, patches.
        present: (B, grid, grid) False where a patch is absent; None: none is.
    """
    top, left = generator.integers(0, grid - size + 1, (2, n_views, n_regions))
    mirrored = generator.random((n_views, n_regions)) < FLIP_PROBABILITY
    if present is not None:
        top, left = moved_to_patches(generator.spawn(1)[0], top, left, crop_counts(present, size))
    return Crops(top, left, mirrored, size)


def moved_to_patches(
    generator: np.random.Generator, top: NDArray[np.int64], left: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Corners (V, B) of crops, those with too few patches drawn anew among those with enough.

    Args:
        generator: Not the one that other draws come from.
        top: Rows.
        left: Columns.
        counts: (B, n, n) patches that are present in the crop at every corner.
    """
    n = counts.shape[1]
    flat = counts.reshape(len(counts), n * n)
    enough = flat >= ENOUGH * flat.max(axis=1, keepdims=True)  # (B, n * n)
    corner = top * n + left
    few = ~np.take_along_axis(enough, corner.T, axis=1).T
    rank = (generator.random(corner.shape) * enough.sum(axis=1)).astype(np.int64)  # (V, B) which of those with enough
    fallback = np.argsort(~enough, axis=1, kind="stable")  # those with enough first
    corner = np.where(few, np.take_along_axis(fallback, rank.T, axis=1).T, corner)
    return corner // n, corner % n


def crop_counts(present: NDArray[np.bool_], size: int) -> NDArray[np.int64]:
    """(B, grid, grid) -> (B, n, n): patches in the crop at each of its corners."""
    crops = np.lib.stride_tricks.sliding_window_view(present, (size, size), axis=(1, 2))
    counts: NDArray[np.int64] = crops.sum(axis=(3, 4))
    return counts


def centre_crops(n_regions: int, size: int, grid: int, present: NDArray[np.bool_] | None = None) -> Crops:
    """The one centre crop of every region, V = 1; where that has too few patches, the fullest nearest to the centre.

    Args:
        n_regions: B.
        size: Side of a crop, patches.
        grid: Side of a region, patches.
        present: (B, grid, grid) False where a patch is absent; None: none is.
    """
    n, middle = grid - size + 1, (grid - size) // 2
    corner = np.full(n_regions, middle * n + middle)
    if present is not None:
        counts = crop_counts(present, size).reshape(n_regions, n * n)
        rows, columns = np.divmod(np.arange(n * n), n)
        by_distance = np.argsort((rows - middle) ** 2 + (columns - middle) ** 2, kind="stable")
        fullest = by_distance[counts[:, by_distance].argmax(axis=1)]
        few = counts[:, middle * n + middle] < ENOUGH * counts.max(axis=1)
        corner = np.where(few, fullest, corner)
    return Crops(corner[None] // n, corner[None] % n, np.zeros((1, n_regions), bool), size)


def cut_masks(present: NDArray[np.bool_], crops: Crops, device: torch.device) -> Tensor:
    """Which patches of the views of B regions are present, (B, grid, grid) -> (V, B, size, size) on the device."""
    return cut_views(send(present, device)[..., None], np.arange(len(present)), crops)[..., 0]


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
