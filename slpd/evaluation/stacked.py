"""Layers that hold the weights of all folds: the first axis of every parameter and of every input is the fold.

Folds share no weight, no random number and no sum, so a fold comes out as if it were trained alone.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn


def uniform(shape: Sequence[int], bound: float, generators: Sequence[torch.Generator]) -> nn.Parameter:
    """(F, *shape), of each fold drawn by its generator from [-bound, bound]."""
    return nn.Parameter(torch.stack([torch.empty(*shape).uniform_(-bound, bound, generator=g) for g in generators]))


def normal(shape: Sequence[int], std: float, generators: Sequence[torch.Generator]) -> nn.Parameter:
    """(F, *shape), of each fold drawn by its generator from a normal distribution around 0."""
    return nn.Parameter(torch.stack([torch.empty(*shape).normal_(0, std, generator=g) for g in generators]))


class StackedLinear(nn.Module):
    """A linear layer per fold, drawn as `torch.nn.Linear` draws it."""

    def __init__(self, n_in: int, n_out: int, generators: Sequence[torch.Generator], bias: bool = True) -> None:
        super().__init__()
        self.weight = uniform((n_in, n_out), 1 / math.sqrt(n_in), generators)
        self.bias = uniform((1, n_out), 1 / math.sqrt(n_in), generators) if bias else None

    def begin(self, weight: nn.Parameter) -> None:
        """Begin with this weight, and with a bias of 0."""
        self.weight = weight
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(F, n, n_in) -> (F, n, n_out)."""
        return x @ self.weight if self.bias is None else torch.baddbmm(self.bias, x, self.weight)


class StackedLayerNorm(nn.Module):
    """Layer normalisation with weights per fold."""

    def __init__(self, width: int, n_folds: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_folds, 1, width))
        self.bias = nn.Parameter(torch.zeros(n_folds, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """(F, n, width) -> the same."""
        return nn.functional.layer_norm(x, x.shape[-1:]) * self.weight + self.bias


class StackedDropout(nn.Module):
    """Dropout whose masks each fold's generator draws, for that fold's regions or bags alone."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor, counts: Tensor, generators: Sequence[np.random.Generator] | None) -> Tensor:
        """(F, n, E) -> the same.

        Args:
            x: Regions or bags of each fold.
            counts: (F,) how many of each fold's n are regions or bags, not padding.
            generators: Of each fold; None: nothing is dropped.
        """
        if generators is None or not self.rate:
            return x
        keep = torch.zeros(x.shape, dtype=torch.bool)
        for fold, (count, generator) in enumerate(zip(counts.tolist(), generators, strict=True)):
            keep[fold, :count] = drawn_to_keep((count, x.shape[2]), self.rate, generator)
        return x * keep.to(x.dtype).mul_(1 / (1 - self.rate))


def drawn_to_keep(shape: tuple[int, ...], rate: float, generator: np.random.Generator) -> Tensor:
    """Bool, false with probability `rate`, to 1 in 65,536: 16 bits are drawn for each, ten times faster than floats."""
    bits = np.frombuffer(generator.bytes(2 * math.prod(shape)), np.uint16)
    return torch.from_numpy(bits >= round(rate * 2**16)).view(shape)
