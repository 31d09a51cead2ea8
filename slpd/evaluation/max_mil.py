"""Max-pooling multiple-instance learning: HIPT's `mil` (Chen et al., CVPR 2022, released code; from CLAM).

Every region is classified by itself; one region speaks for the slide. With two classes it is the one in which class 1
is most probable, with more the one in which any class is most probable (CLAM's rule), in survival tasks the one at
most risk. Weights begin as CLAM's: Xavier's normal distribution, biases 0.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slpd.evaluation.packed_bags import NEVER, PackedBags
from slpd.evaluation.stacked import StackedDropout, StackedLinear, normal
from slpd.settings.heads import MaxMilHead


class MaxMil(nn.Module):
    """Bags of region vectors -> the logits of one region each, and which one it was."""

    def __init__(
        self,
        width: int,
        n_outputs: int,
        head: MaxMilHead,
        generators: Sequence[torch.Generator],
        survival: bool,
    ) -> None:
        super().__init__()
        self.embed = StackedLinear(width, head.embedding, generators)
        self.dropout = StackedDropout(head.dropout)
        self.classify = StackedLinear(head.embedding, n_outputs, generators)
        self.survival = survival
        for layer in (self.embed, self.classify):
            shape = layer.weight.shape[1:]
            layer.begin(normal(shape, math.sqrt(2 / sum(shape)), generators))

    def forward(self, bags: PackedBags) -> tuple[Tensor, Tensor]:
        """Logits (F, B, C), and weights (F, T): 1 for the region that speaks for its bag, 0 for the others."""
        h = self.dropout(torch.relu(self.embed(bags.regions)), bags.n_regions, bags.generators)  # (F, T, E)
        logits = self.classify(h)  # (F, T, C)
        scores = self.scores(logits.detach())[:, None].masked_fill(~bags.member, NEVER)  # (F, B, T)
        top = scores.argmax(dim=-1)  # (F, B)
        weights = bags.member & (torch.arange(h.shape[1]) == top[..., None])  # (F, B, T)
        chosen = logits.gather(1, top[..., None].expand(-1, -1, logits.shape[2]))  # (F, B, C)
        return chosen, weights.sum(dim=1).float()

    def scores(self, logits: Tensor) -> Tensor:
        """What makes a region speak, (F, T)."""
        if self.survival:
            return -(-nn.functional.softplus(logits).cumsum(dim=-1)).exp().sum(dim=-1)  # less its survival function
        probabilities = logits.softmax(dim=-1)
        return probabilities[..., 1] if logits.shape[-1] == 2 else probabilities.amax(dim=-1)
