"""Attention-based multiple-instance learning: Ilse, Tomczak, Welling, ICML 2018 (arXiv 1802.04712).

Departures from the paper, all in the direction of the authors' published code or of common practice:
V and U have biases (as in the authors' code; the equations show none), w has none, since the softmax over the
regions cancels it. There is dropout behind the embedding, as HIPT and CLAM have it, and none in the attention.
A softmax over classes with cross-entropy stands in place of the Bernoulli output, so that tasks may have more than two
classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from slpd.evaluation.packed_bags import PackedBags
from slpd.evaluation.stacked import StackedDropout, StackedLinear
from slpd.settings.heads import AbmilHead


class AttentionScores(nn.Module):
    """The score of each region: eq. 9 if gated, else eq. 8, before the softmax."""

    def __init__(
        self, width: int, hidden: int, gated: bool, generators: Sequence[torch.Generator], dropout: float = 0
    ) -> None:
        """`dropout` is that of what tanh and sigmoid give; none in the paper."""
        super().__init__()
        self.dropout = StackedDropout(dropout)
        self.v = StackedLinear(width, hidden, generators)
        self.u = StackedLinear(width, hidden, generators) if gated else None
        self.w = StackedLinear(hidden, 1, generators, bias=False)

    def forward(self, h: Tensor, bags: PackedBags) -> Tensor:
        """(F, T, E), of these bags -> (F, T)."""
        drop = (bags.n_regions, bags.generators)
        hidden = self.dropout(torch.tanh(self.v(h)), *drop)  # (F, T, A)
        if self.u is not None:
            hidden = hidden * self.dropout(torch.sigmoid(self.u(h)), *drop)  # (F, T, A)
        return self.w(hidden).squeeze(-1)  # type: ignore[no-any-return]


class Abmil(nn.Module):
    """Bags of region vectors -> logits, and the attention each region received."""

    def __init__(self, width: int, n_outputs: int, head: AbmilHead, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.embed = StackedLinear(width, head.embedding, generators)
        self.dropout = StackedDropout(head.dropout)
        self.attention = AttentionScores(head.embedding, head.attention, head.gated, generators)
        self.classify = StackedLinear(head.embedding, n_outputs, generators)

    def forward(self, bags: PackedBags) -> tuple[Tensor, Tensor]:
        """Logits (F, B, C), and weights (F, T) that sum to 1 over each bag."""
        h = torch.relu(self.embed(bags.regions))  # (F, T, E)
        h = self.dropout(h, bags.n_regions, bags.generators)
        z, weights = bags.pool(self.attention(h, bags), h)  # (F, B, E), eq. 7
        return self.classify(z), weights
