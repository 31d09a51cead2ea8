"""Random weights from an explicit generator."""

import torch
from torch import Tensor, nn

INITIAL_STD = 0.02  # DINO


def draw_truncated_normal(parameter: Tensor, generator: torch.Generator) -> None:
    """Fill with a normal of std 0.02, cut at ±2 (so hardly ever)."""
    nn.init.trunc_normal_(parameter, std=INITIAL_STD, generator=generator)
