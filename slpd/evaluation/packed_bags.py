"""Bags of any size, several for each of several folds, in one tensor.

The regions of a fold's bags lie one after the other, so that only the end of a fold's row is padding; a layer that
acts on each region alone does no work for bags shorter than the longest. F folds, B bags each, T regions in the row
of a fold, N regions in the largest bag.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

NEVER = torch.finfo(torch.float32).min  # a score that softmax turns to 0, and to finite numbers where it is alone


@dataclass(frozen=True)
class PackedBags:
    """Bags of F folds."""

    regions: Tensor  # (F, T, D); what stands behind the last bag of a fold is ignored
    sizes: Tensor  # (F, B) int64: regions of each bag; 0: the fold has no such bag
    generators: list[np.random.Generator] | None  # of each fold, for dropout; None: no dropout

    @property
    def n_regions(self) -> Tensor:
        """(F,): regions of each fold."""
        return self.sizes.sum(dim=1)

    @property
    def n_bags(self) -> Tensor:
        """(F,): bags of each fold; the others, behind them, are empty."""
        return (self.sizes > 0).sum(dim=1)

    @cached_property
    def starts(self) -> Tensor:
        """(F, B): where each bag begins."""
        return self.sizes.cumsum(dim=1) - self.sizes

    @cached_property
    def member(self) -> Tensor:
        """(F, B, T) bool: which regions a bag has."""
        place = torch.arange(self.regions.shape[1])
        starts = self.starts[..., None]
        return (place >= starts) & (place < starts + self.sizes[..., None])

    def pool(self, scores: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Attention pooling.

        Args:
            scores: (F, T).
            x: (F, T, E).

        Returns:
            (F, B, E): of each bag the mean of its regions, weighted by the softmax of its scores; and the weights
            (F, T), which sum to 1 over each bag.
        """
        weights = scores[:, None].masked_fill(~self.member, NEVER).softmax(dim=-1)  # (F, B, T)
        return weights @ x, (weights * self.member).sum(dim=1)
