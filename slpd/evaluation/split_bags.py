"""Bags of any size in one tensor, one after the other."""

from collections.abc import Sequence

import torch
from torch import Tensor


def split_bags(rows: Tensor, sizes: list[int]) -> Sequence[Tensor]:
    """Rows (T, ...) of B bags of these sizes -> those of each bag.

    One bag is all rows: a split would copy its gradient, a twentieth of a step that takes one bag.
    """
    return torch.split(rows, sizes) if len(sizes) > 1 else [rows]
