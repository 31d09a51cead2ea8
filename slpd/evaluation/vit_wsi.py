"""ViT_WSI-4096: HIPT's slide-level transformer (Chen et al., CVPR 2022, section 3.2; `hipt_gp` of its released code).

Linear layer, ReLU, dropout; transformer encoder without positions (post-norm, ReLU); gated attention pooling with
dropout of both its branches; linear layer, ReLU, dropout; linear layer to the classes. Weights begin as those of
torch's layers: the layers of an encoder are copies of one.
"""

import math
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from slpd.evaluation.abmil import AttentionScores
from slpd.evaluation.packed_bags import PackedBags
from slpd.evaluation.stacked import StackedDropout, StackedLayerNorm, StackedLinear, drawn_to_keep, uniform
from slpd.settings.heads import VitWsiHead

MOST_SCORES = 2**20  # attention scores of a bag that are held at a time: 4 MB, a bag of 590 regions with 3 heads


class EncoderLayer(nn.Module):
    """`torch.nn.TransformerEncoderLayer` (post-norm, ReLU) with weights per fold."""

    def __init__(self, head: VitWsiHead, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        width = head.embedding
        self.n_heads = head.heads
        self.qkv = StackedLinear(width, 3 * width, generators)
        self.qkv.begin(uniform((width, 3 * width), math.sqrt(6 / (4 * width)), generators))  # Xavier
        self.project = StackedLinear(width, width, generators)
        self.project.begin(self.project.weight)
        self.widen = StackedLinear(width, head.feedforward, generators)
        self.narrow = StackedLinear(head.feedforward, width, generators)
        self.norm_1, self.norm_2 = (StackedLayerNorm(width, len(generators)) for _ in range(2))
        self.dropout = StackedDropout(head.dropout)

    def forward(self, x: Tensor, bags: PackedBags) -> Tensor:
        """(F, T, E) -> the same."""
        drop = (bags.n_regions, bags.generators)
        x = self.norm_1(x + self.dropout(self.project(self.attend(x, bags)), *drop))
        hidden = self.dropout(torch.relu(self.widen(x)), *drop)
        return self.norm_2(x + self.dropout(self.narrow(hidden), *drop))  # type: ignore[no-any-return]

    def attend(self, x: Tensor, bags: PackedBags) -> Tensor:
        """Self-attention within each bag, (F, T, E) -> the same, zeros behind the last bag."""
        rows = []
        for fold, (qkv, sizes) in enumerate(zip(self.qkv(x), bags.sizes.tolist(), strict=True)):
            generator = bags.generators[fold] if bags.generators else None
            pieces = torch.split(qkv[: sum(sizes)], [size for size in sizes if size])
            row = torch.cat([self.attend_bag(bag, generator) for bag in pieces])
            rows.append(nn.functional.pad(row, (0, 0, 0, x.shape[1] - len(row))))
        return torch.stack(rows)

    def attend_bag(self, qkv: Tensor, generator: np.random.Generator | None) -> Tensor:
        """Self-attention of one bag, (n, 3E) -> (n, E); without a generator nothing is dropped."""
        q, k, v = qkv.view(len(qkv), 3, self.n_heads, -1).permute(1, 2, 0, 3)  # each (heads, n, d)
        if generator is None or not self.dropout.rate:
            mixed = nn.functional.scaled_dot_product_attention(q[None], k[None], v[None])[0]
        else:
            mixed = attend_dropping(q, k, v, self.dropout.rate, generator)
        return mixed.transpose(0, 1).reshape(len(qkv), -1)


def attend_dropping(q: Tensor, k: Tensor, v: Tensor, rate: float, generator: np.random.Generator) -> Tensor:
    """Attention with dropout of its weights, (heads, n, d) -> the same, in memory that grows with n alone.

    Queries go by so many at a time that MOST_SCORES scores are held. Where that is not all of them, the scores are not
    kept for the gradient but computed again, with dropout from the same seed.
    """
    pieces = torch.split(q, max(1, MOST_SCORES // (q.shape[0] * q.shape[1])), dim=1)
    seeds = generator.integers(2**63, size=len(pieces)).tolist()
    if len(pieces) == 1:
        return mix(q, k, v, rate, seeds[0])
    return torch.cat(
        [
            checkpoint(mix, piece, k, v, rate, seed, use_reentrant=False, preserve_rng_state=False)
            for piece, seed in zip(pieces, seeds, strict=True)
        ],
        dim=1,
    )


def mix(q: Tensor, k: Tensor, v: Tensor, rate: float, seed: int) -> Tensor:
    """What some queries (heads, m, d) take of the values of all regions (heads, n, d)."""
    weights = (q @ k.transpose(1, 2) / math.sqrt(q.shape[2])).softmax(dim=-1)  # (heads, m, n)
    keep = drawn_to_keep(weights.shape, rate, np.random.default_rng(seed))
    return weights * keep.to(weights.dtype).mul_(1 / (1 - rate)) @ v


class VitWsi(nn.Module):
    """Bags of region vectors -> logits, and the attention each region received in the pooling."""

    def __init__(self, width: int, n_outputs: int, head: VitWsiHead, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.embed = StackedLinear(width, head.embedding, generators)
        layer = EncoderLayer(head, generators)
        self.layers = nn.ModuleList(deepcopy(layer) for _ in range(head.depth))
        self.attention = AttentionScores(head.embedding, head.attention, True, generators, head.dropout)
        self.rho = StackedLinear(head.embedding, head.embedding, generators)
        self.classify = StackedLinear(head.embedding, n_outputs, generators)
        self.dropout = StackedDropout(head.dropout)

    def forward(self, bags: PackedBags) -> tuple[Tensor, Tensor]:
        """Logits (F, B, C), and weights (F, T) that sum to 1 over each bag."""
        h = self.dropout(torch.relu(self.embed(bags.regions)), bags.n_regions, bags.generators)  # (F, T, E)
        for layer in self.layers:
            h = layer(h, bags)
        z, weights = bags.pool(self.attention(h, bags), h)  # (F, B, E)
        z = self.dropout(torch.relu(self.rho(z)), bags.n_bags, bags.generators)
        return self.classify(z), weights
