"""Adam for weights that are stacked by fold: each fold has a state of its own and can sit a step out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slpd.settings.heads import HeadPreset

OPTIMISERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class FoldAdam:
    """torch's Adam or AdamW over the weights of each fold, which lie in one row of a matrix.

    One long tensor for each fold, instead of one for each parameter of it, spares calls, which hold up other threads.
    """

    def __init__(self, model: nn.Module, preset: HeadPreset) -> None:
        """Every parameter's first axis is the fold; from here on the parameters are views of the matrix."""
        self.stacked = list(model.parameters())
        matrix = self.as_rows([parameter.detach() for parameter in self.stacked])  # (F, P)
        pieces = torch.split(matrix, [parameter[0].numel() for parameter in self.stacked], dim=1)
        for parameter, piece in zip(self.stacked, pieces, strict=True):
            parameter.data = piece.view(parameter.shape)
        self.rows = matrix.unbind()
        self.optimiser = OPTIMISERS[preset.optimiser](
            self.rows, lr=preset.learning_rate, weight_decay=preset.weight_decay, fused=True
        )

    def step(self, folds: Sequence[int]) -> None:
        """Update the given folds from the gradients of the stacked parameters, and clear these."""
        found = []
        for parameter in self.stacked:
            assert parameter.grad is not None
            found.append(parameter.grad)
            parameter.grad = None
        gradients = self.as_rows(found)  # (F, P)
        for fold, row in enumerate(self.rows):
            row.grad = gradients[fold] if fold in folds else None
        self.optimiser.step()

    @staticmethod
    def as_rows(stacked: Sequence[Tensor]) -> Tensor:
        """Tensors (F, ...) side by side, (F, P)."""
        return torch.cat([tensor.flatten(1) for tensor in stacked], dim=1)
