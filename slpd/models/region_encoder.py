"""ViT_4096-256: turns a region's grid of patch tokens into one region vector (HIPT, Chen et al. 2022)."""

import math
from collections.abc import Callable
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slpd.models.weights import draw_truncated_normal

LAYER_NORM_EPS = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention; the rows of `qkv` are ordered (3, heads, head width).

    `kernels`, where training sets it, takes the place of `attend_by_torch` where no token is masked.
    """

    kernels: ClassVar[Callable[[Tensor, Tensor, int], Tensor] | None] = None

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, n_out: int, seen: Tensor | None) -> Tensor:
        """(B, N, D) -> (B, n_out, D), the first `n_out` tokens; `seen` as in Block."""
        _, N, D = x.shape
        if n_out == N:
            tokens_q = tokens_kv = self.qkv(x)
        else:
            split = [D, 2 * D]
            weight_q, weight_kv = torch.split(self.qkv.weight, split)
            bias_q, bias_kv = torch.split(self.qkv.bias, split)
            tokens_q, tokens_kv = F.linear(x[:, :n_out], weight_q, bias_q), F.linear(x, weight_kv, bias_kv)
        if Attention.kernels is not None and seen is None and x.is_cuda:
            return self.proj(Attention.kernels(tokens_q, tokens_kv, self.heads))  # type: ignore[no-any-return]
        return self.proj(attend_by_torch(tokens_q, tokens_kv, self.heads, seen))  # type: ignore[no-any-return]

    def of_first(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """(B, N, D) -> (B, heads, N): the attention of the first token to all, which sums to 1; `seen` as in Block."""
        B, N, D = x.shape
        q, k, _ = self.qkv(x).view(B, N, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        scores: Tensor = q[:, :, :1] @ k.transpose(2, 3) / math.sqrt(D // self.heads)  # (B, heads, 1, N)
        if seen is not None:
            scores = scores.masked_fill(~seen, -math.inf)
        return scores.softmax(dim=3)[:, :, 0]


def attend_by_torch(tokens_q: Tensor, tokens_kv: Tensor, heads: int, seen: Tensor | None) -> Tensor:
    """Attention of every head.

    Args:
        tokens_q: (B, N, 3 D) queries, keys and values of N tokens, as (3, heads, head width); or (B, n, D) queries.
        tokens_kv: The same; or (B, N, 2 D) keys and values.
        heads: Their number.
        seen: (B, 1, 1, N) which tokens are attended to; None: all.

    Returns:
        (B, n, D), heads side by side.
    """
    B, n, _ = tokens_q.shape
    N = tokens_kv.shape[1]
    if tokens_q.shape == tokens_kv.shape:
        q, k, v = tokens_q.view(B, N, 3, heads, -1).permute(2, 0, 3, 1, 4)
    else:
        q = tokens_q.view(B, n, heads, -1).transpose(1, 2)
        k, v = tokens_kv.view(B, N, 2, heads, -1).permute(2, 0, 3, 1, 4)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)  # (B, heads, n, D / heads)
    return mixed.transpose(1, 2).reshape(B, n, -1)


class Perceptron(nn.Module):
    """The two-layer perceptron of a block, four times as wide inside, with exact GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, LAYER_NORM_EPS)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, LAYER_NORM_EPS)
        self.mlp = Perceptron(width)

    def forward(self, x: Tensor, keep: Tensor | None, n_out: int, seen: Tensor | None) -> Tensor:
        """One block.

        Args:
            x: (B, N, D).
            keep: (2, B) factors of the two residual branches (see `drop_path_factors`); None: all 1.
            n_out: How many of the first tokens to compute.
            seen: (B, 1, 1, N) which tokens are attended to; None: all.

        Returns:
            (B, n_out, D).
        """
        attended = self.attn(self.norm1(x), n_out, seen)
        x = add_branch(x[:, :n_out], attended, None if keep is None else keep[0])
        return add_branch(x, self.mlp(self.norm2(x)), None if keep is None else keep[1])


def add_branch(x: Tensor, branch: Tensor, factors: Tensor | None) -> Tensor:
    """X (B, N, D) plus a residual branch, times a factor per sample (B,)."""
    return x + branch if factors is None else torch.addcmul(x, branch, factors[:, None, None])


class RegionViT(nn.Module):
    """ViT_4096-256. Its parameter names are those of HIPT's released `vit4k` checkpoints."""

    def __init__(self, token_width: int, width: int, depth: int, heads: int, position_grid: int) -> None:
        """Build the encoder with undefined weights; `draw_weights` or a state dict fills them.

        Args:
            token_width: Length of a patch token (384 for ViT_256-16).
            width: Width of the transformer and length of a region vector.
            depth: Number of blocks.
            heads: Attention heads.
            position_grid: Side of the position table, patches.
        """
        super().__init__()
        self.width, self.heads = width, heads
        self.phi = nn.Sequential(nn.Linear(token_width, width), nn.GELU())
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + position_grid**2, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, LAYER_NORM_EPS)

    def forward(self, tokens: Tensor, keep: Tensor | None = None, present: Tensor | None = None) -> Tensor:
        """Region vectors: the CLS output after the final norm.

        Args:
            tokens: (B, rows, columns, token width) patch tokens.
            keep: (depth, 2, B) factors of the residual branches; None: all 1.
            present: (B, rows, columns) which patches there are; None: all. What stands for the others has no effect.

        Returns:
            (B, D).
        """
        x, seen = self.placed(tokens, present), seen_tokens(present)
        for i, block in enumerate(self.blocks):
            last = i + 1 == len(self.blocks)  # of which only the CLS token is read: a sixth of its work
            x = block(x, None if keep is None else keep[i], n_out=1 if last else x.shape[1], seen=seen)
        return self.norm(x[:, 0])  # type: ignore[no-any-return]

    def placed(self, tokens: Tensor, present: Tensor | None) -> Tensor:
        """(B, rows, columns, token width) -> (B, 1 + N, D): CLS token and N patches as the first block gets them."""
        B, rows, columns, _ = tokens.shape
        if present is not None:  # what is masked in attention must still be finite
            tokens = tokens.masked_fill(~present[..., None], 0)
        patches = self.phi(tokens).flatten(1, 2)  # (B, N, D)
        x = torch.cat([self.cls_token.expand(B, -1, -1).to(patches.dtype), patches], dim=1)
        return x + positions_for(self.pos_embed, rows, columns)

    def class_attention(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        """The attention of the CLS token to the patches in the last block, (B, heads, rows * columns); absent: 0."""
        x, seen = self.placed(tokens, present), seen_tokens(present)
        for block in self.blocks[:-1]:
            x = block(x, None, n_out=x.shape[1], seen=seen)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        return last.attn.of_first(last.norm1(x), seen)[:, :, 1:]

    def draw_weights(self, generator: torch.Generator) -> None:
        """Fill every parameter as DINO does: truncated normal weights of std 0.02, zero biases, unit norms."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                draw_truncated_normal(module.weight, generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        draw_truncated_normal(self.cls_token, generator)
        draw_truncated_normal(self.pos_embed, generator)


def seen_tokens(present: Tensor | None) -> Tensor | None:
    """Of (B, rows, columns) patches that are present, (B, 1, 1, 1 + N) the tokens to attend to: these and CLS."""
    return None if present is None else F.pad(present.flatten(1), (1, 0), value=True)[:, None, None]


def positions_for(table: Tensor, rows: int, columns: int) -> Tensor:
    """The position table resized to a grid of `rows` x `columns` patches, by DINO's rule.

    The scale factors carry +0.1 and are the ones interpolated with (not recomputed from the sizes): a
    convention that trained weights depend on. The CLS position is untouched.

    Args:
        table: (1, 1 + side * side, D).
        rows: Patches down.
        columns: Patches across.

    Returns:
        (1, 1 + rows * columns, D).
    """
    side = math.isqrt(table.shape[1] - 1)
    if (rows, columns) == (side, side):
        return table
    grid = table[:, 1:].view(1, side, side, -1).permute(0, 3, 1, 2)  # (1, D, side, side)
    scale = ((rows + 0.1) / side, (columns + 0.1) / side)
    grid = F.interpolate(grid, scale_factor=scale, mode="bicubic", align_corners=False, recompute_scale_factor=False)
    return torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def drop_path_factors(uniform: Tensor, largest_rate: float) -> Tensor:
    """Stochastic depth as factors of the residual branches: 0 where dropped, 1 / (1 - rate) where kept.

    Rates rise linearly from 0 in the first block to `largest_rate` in the last. Factors come from
    outside the model so that a step's randomness is a function of its seed alone.

    Args:
        uniform: (depth, ...) uniform random numbers in [0, 1).
        largest_rate: Rate of the last block.

    Returns:
        (depth, ...).
    """
    rates = torch.linspace(0, largest_rate, len(uniform), device=uniform.device)
    rates = rates.view(-1, *(1 for _ in uniform.shape[1:]))
    return (uniform >= rates).to(uniform.dtype) / (1 - rates)
