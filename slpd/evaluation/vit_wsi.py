"""ViT_WSI-4096: HIPT's slide-level transformer (Chen et al., CVPR 2022, section 3.2; `hipt_gp` of its released code).

Linear layer, ReLU, dropout; transformer encoder without positions (post-norm, ReLU); gated attention pooling with
dropout of both its branches; linear layer, ReLU, dropout; linear layer to the classes. Weights begin as those of
torch's layers: the layers of an encoder are copies of one.
"""

import math
from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from slpd.evaluation.abmil import AttentionScores
from slpd.evaluation.packed_bags import NEVER, PackedBags
from slpd.evaluation.stacked import StackedDropout, StackedLayerNorm, StackedLinear, drawn_to_keep, uniform
from slpd.settings.heads import VitWsiHead


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
        """Self-attention within each bag, (F, T, E) -> the same."""
        padded = bags.pad(self.qkv(x))  # (F, B, N, 3E)
        F, B, N, _ = padded.shape
        q, k, v = padded.view(F, B, N, 3, self.n_heads, -1).permute(3, 0, 1, 4, 2, 5)  # each (F, B, heads, N, d)
        is_region = bags.padded_places < x.shape[1]  # (F, B, N)
        scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).masked_fill(~is_region[:, :, None, None], NEVER)
        mixed = self.drop_attention(scores.softmax(dim=-1), bags) @ v  # (F, B, heads, N, d)
        return bags.unpad(mixed.transpose(2, 3).reshape(F, B, N, -1))

    def drop_attention(self, attention: Tensor, bags: PackedBags) -> Tensor:
        """Dropout of (F, B, heads, N, N), drawn for each fold's own bags alone."""
        if bags.generators is None or not self.dropout.rate:
            return attention
        keep = torch.zeros_like(attention)
        sizes = bags.sizes.amax(dim=1).tolist()
        for fold, (n, size, generator) in enumerate(zip(bags.n_bags.tolist(), sizes, bags.generators, strict=True)):
            shape = (n, attention.shape[2], size, size)
            keep[fold, :n, :, :size, :size] = drawn_to_keep(shape, self.dropout.rate, generator)
        return attention * keep.mul_(1 / (1 - self.dropout.rate))


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
