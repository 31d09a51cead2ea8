"""ViT_WSI-4096: HIPT's slide-level transformer (Chen et al., CVPR 2022, section 3.2; `hipt_gp` of its released code).

Linear layer, ReLU, dropout; transformer encoder without positions (post-norm, ReLU); gated attention pooling with
dropout of both its branches; linear layer, ReLU, dropout; linear layer to the classes. Weights begin as those of
torch's layers: the layers of an encoder are copies of one.
"""

import math
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slpd.evaluation.abmil import AttentionPooling
from slpd.evaluation.cases import TaskShape
from slpd.evaluation.dropout import Dropout
from slpd.evaluation.split_bags import split_bags
from slpd.settings.heads import VitWsiHead

MOST_SCORES = 2**20  # attention scores of a bag that are held at a time: 4 MB, a bag of 590 regions with 3 heads


class SelfAttention(nn.Module):
    """`torch.nn.MultiheadAttention` of a bag to itself, in memory that grows with its regions, not with their square.

    Queries go by so many at a time that MOST_SCORES scores are held. Where that is not all of them, the scores are not
    kept for the gradient but computed again, with the same dropout.
    """

    def __init__(self, width: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.dropout = Dropout(dropout)
        nn.init.xavier_uniform_(self.qkv.weight)
        for layer in (self.qkv, self.project):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, sizes: list[int]) -> Tensor:
        """Regions (T, E) of bags of these sizes -> the same."""
        bags = split_bags(self.qkv(x), sizes)
        return self.project(torch.cat([self.mix_bag(bag) for bag in bags]))  # type: ignore[no-any-return]

    def mix_bag(self, qkv: Tensor) -> Tensor:
        """(n, 3E) of one bag -> (n, E)."""
        q, k, v = qkv.view(len(qkv), 3, self.n_heads, -1).permute(1, 2, 0, 3)  # each (heads, n, d)
        queries = torch.split(q, max(1, MOST_SCORES // (self.n_heads * len(qkv))), dim=1)
        if len(queries) == 1:
            mixed = self.mix(q, k, v)
        else:
            mixed = torch.cat([checkpoint(self.mix, some, k, v, use_reentrant=False) for some in queries], dim=1)
        return mixed.transpose(0, 1).flatten(1)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """What some queries (heads, m, d) take of the values of all regions (heads, n, d)."""
        weights = (q @ k.transpose(1, 2) / math.sqrt(q.shape[2])).softmax(dim=2)  # (heads, m, n)
        return self.dropout(weights) @ v  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """`torch.nn.TransformerEncoderLayer` (post-norm, ReLU) for bags that lie one after the other."""

    def __init__(self, head: VitWsiHead) -> None:
        super().__init__()
        width = head.embedding
        self.attention = SelfAttention(width, head.heads, head.dropout)
        self.feedforward = nn.Sequential(
            nn.Linear(width, head.feedforward), nn.ReLU(), Dropout(head.dropout), nn.Linear(head.feedforward, width)
        )
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = Dropout(head.dropout)

    def forward(self, x: Tensor, sizes: list[int]) -> Tensor:
        """Regions (T, E) of bags of these sizes -> the same."""
        x = self.norm_1(x + self.dropout(self.attention(x, sizes)))
        return self.norm_2(x + self.dropout(self.feedforward(x)))  # type: ignore[no-any-return]


class VitWsi(nn.Module):
    """Bags of region vectors -> logits, and the attention each region received in the pooling."""

    def __init__(self, head: VitWsiHead, task: TaskShape) -> None:
        super().__init__()
        width, dropout = head.embedding, head.dropout
        self.embed = nn.Sequential(nn.Linear(task.width, width), nn.ReLU(), Dropout(dropout))
        layer = EncoderLayer(head)
        self.layers = nn.ModuleList(deepcopy(layer) for _ in range(head.depth))
        self.pool = AttentionPooling(width, head.attention, gated=True, dropout=dropout)
        self.rho = nn.Sequential(nn.Linear(width, width), nn.ReLU(), Dropout(dropout))
        self.classify = nn.Linear(width, task.n_outputs)

    def forward(self, regions: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
        """Regions (T, D) of B bags of these sizes -> logits (B, C), and weights (T,) that sum to 1 over each bag."""
        h = self.embed(regions)  # (T, E)
        for layer in self.layers:
            h = layer(h, sizes)
        z, weights = self.pool(h, sizes)  # (B, E)
        return self.classify(self.rho(z)), weights
