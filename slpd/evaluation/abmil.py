"""Attention-based multiple-instance learning: Ilse, Tomczak, Welling, ICML 2018 (arXiv 1802.04712).

Departures from the paper, all in the direction of the authors' published code or of common practice:
V and U have biases (as in the authors' code; the equations show none), w has none, since the softmax over the
regions cancels it. There is dropout after the embedding, as HIPT and CLAM have it, and none in the attention.
A softmax over classes with cross-entropy stands in place of the Bernoulli output, so that tasks may have more than two
classes.
"""

import torch
from torch import Tensor, nn

from slpd.evaluation.cases import TaskShape
from slpd.evaluation.dropout import Dropout
from slpd.evaluation.split_bags import split_bags
from slpd.settings.heads import AbmilHead


class AttentionPooling(nn.Module):
    """The mean of each bag's regions, weighted by attention: eq. 9 if gated, else eq. 8."""

    def __init__(self, width: int, hidden: int, gated: bool, dropout: float = 0) -> None:
        """`dropout` is that of what tanh and sigmoid give; none in the paper."""
        super().__init__()
        self.v = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), Dropout(dropout))
        self.u = nn.Sequential(nn.Linear(width, hidden), nn.Sigmoid(), Dropout(dropout)) if gated else None
        self.w = nn.Linear(hidden, 1, bias=False)

    def forward(self, h: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
        """Regions (T, E) of B bags -> means (B, E), and weights (T,) that sum to 1 over each bag."""
        hidden = self.v(h) if self.u is None else self.v(h) * self.u(h)  # (T, A)
        scores = self.w(hidden).squeeze(1)  # (T,)
        weights = [of_bag.softmax(dim=0) for of_bag in split_bags(scores, sizes)]
        means = [a @ of_bag for a, of_bag in zip(weights, split_bags(h, sizes), strict=True)]  # eq. 7
        return torch.stack(means), torch.cat(weights)


class Abmil(nn.Module):
    """Bags of region vectors -> logits, and the attention each region received."""

    def __init__(self, head: AbmilHead, task: TaskShape) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(task.width, head.embedding), nn.ReLU(), Dropout(head.dropout))
        self.pool = AttentionPooling(head.embedding, head.attention, head.gated)
        self.classify = nn.Linear(head.embedding, task.n_outputs)

    def forward(self, regions: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
        """Regions (T, D) of B bags of these sizes -> logits (B, C), and weights (T,) that sum to 1 over each bag."""
        z, weights = self.pool(self.embed(regions), sizes)  # (B, E)
        return self.classify(z), weights
