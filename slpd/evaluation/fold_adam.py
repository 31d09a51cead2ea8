"""Adam for weights that are stacked by fold: each fold has a state of its own and can sit a step out."""

from collections.abc import Sequence

import torch
from torch import nn

from slpd.settings.heads import HeadPreset

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class FoldAdam:
    """torch's Adam or AdamW over the slice of every stacked parameter that belongs to a fold."""

    def __init__(self, model: nn.Module, preset: HeadPreset) -> None:
        """Every parameter's first axis is the fold; the slices share its memory."""
        self.stacked = list(model.parameters())
        self.slices = [parameter.detach().unbind() for parameter in self.stacked]
        self.optimiser = OPTIMISERS[preset.optimiser](
            [piece for pieces in self.slices for piece in pieces],
            lr=preset.learning_rate,
            weight_decay=preset.weight_decay,
            fused=True,
        )

    def step(self, folds: Sequence[int]) -> None:
        """Update the given folds from the gradients of the stacked parameters, and clear these."""
        for parameter, pieces in zip(self.stacked, self.slices, strict=True):
            assert parameter.grad is not None
            gradients = parameter.grad.unbind()
            for piece in pieces:
                piece.grad = None
            for fold in folds:
                pieces[fold].grad = gradients[fold]
            parameter.grad = None
        self.optimiser.step()
