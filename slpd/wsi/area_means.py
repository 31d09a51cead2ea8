"""Area resampling on any device: every output pixel is the mean of the input over its own footprint."""

import torch
from torch import Tensor

BLOCK_VALUES = 2**23  # of the input that are summed at a time, as float64: 64 MB


def area_means(pixels: Tensor, side: int) -> Tensor:
    """A square picture of another size, rounded: within half a grey level of the exact mean.

    `slpd.geometry.area_resample` is the same on a CPU, where it is faster.

    Args:
        pixels: (n, n, 3) uint8.
        side: Of the result, px.

    Returns:
        (side, side, 3) uint8.
    """
    n = len(pixels)
    if n == side:
        return pixels
    result = pixels.new_empty((side, side, 3))
    at_once = max(1, BLOCK_VALUES * side // (3 * n * n))  # rows of the result
    for first in range(0, side, at_once):
        rows = min(at_once, side - first)
        narrow = means(pixels, first, rows, side)  # (rows, n, 3)
        block = means(narrow.transpose(0, 1), 0, side, side).transpose(0, 1)
        result[first : first + rows] = block.add_(0.5).floor_()
    return result


def means(values: Tensor, first: int, n_outputs: int, n_all: int) -> Tensor:
    """Means along the first dimension: outputs `first` and following of `n_all`.

    From sums up to each edge of an output: whole values before it, and the share of the one that it cuts.
    Sums are float64, which holds them exactly where edges cut nothing.
    """
    n = len(values)
    edges = torch.arange(first, first + n_outputs + 1, device=values.device) * n  # units of 1 / n_all input values
    start = first * n // n_all
    whole, share = edges // n_all - start, (edges % n_all).double() / n_all
    part = values[start : start + int(-(-(first + n_outputs) * n // n_all)) - start].double()
    sums = torch.cat([torch.zeros_like(part[:1]), part.cumsum(0)])
    at_edges = sums[whole] + share.view(-1, 1, 1) * part[whole.clamp(max=len(part) - 1)]
    return at_edges.diff(dim=0) * (n_all / n)
