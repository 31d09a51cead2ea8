"""The blocks of a timm ViT on a GPU, with every sum and the norm after it in one kernel.

Under autocast torch scales a branch, adds it, norms the sum and casts the norm, in a kernel each, which move 24 bytes a
value, 32 with a scale. One kernel moves 12, and sums stay float32. Nothing is kept for a way back.
"""

from itertools import pairwise
from typing import Any

import torch
import triton
from timm.layers import DropPath, LayerNorm, LayerScale  # type: ignore[attr-defined]
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from slpd.models.add_norm_kernel import add_norm_kernel

VALUES = 2048  # that a program holds at least: 16 for each of its 128 threads


class FusedBlocks(nn.Sequential):
    """Takes the place of timm's blocks in eval mode; parameters keep their names."""

    @staticmethod
    def equals(blocks: nn.Module) -> bool:
        """Whether it gives what these blocks do, but for rounding: they are timm's own, of no subclass."""
        return type(blocks) is nn.Sequential and len(blocks) > 0 and all(map(is_plain, blocks))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D) float32; the last sum of a block is made with the first norm of the next."""
        blocks: list[Any] = list(self)
        x, h = x.float(), blocks[0].norm1(x)
        for block, after in pairwise(blocks):
            x, h = add_norm(x, block.attn(h), block.ls1, block.norm2)
            x, h = add_norm(x, block.mlp(h), block.ls2, after.norm1)
        last = blocks[-1]
        x, h = add_norm(x, last.attn(h), last.ls1, last.norm2)
        return x + last.ls2(last.mlp(h))  # type: ignore[no-any-return]

    def try_out(self) -> None:
        """Have the kernel compiled and started.

        Raises:
            Exception: whatever a compiler, its cache or a driver may raise.
        """
        block: Any = self[0]
        row = block.norm1.weight.detach()[None]  # (1, D)
        add_norm(row, row.half(), block.ls1, block.norm1)


def is_plain(block: Any) -> bool:  # noqa: ANN401
    """Whether a block is timm's `Block` with norms and scales that the kernel knows."""
    if type(block) is not Block:
        return False
    norms, others = (block.norm1, block.norm2), (block.ls1, block.ls2, block.drop_path1, block.drop_path2)
    known = all(type(norm) in (nn.LayerNorm, LayerNorm) for norm in norms)
    known = known and all(norm.weight is not None and norm.bias is not None for norm in norms)
    return known and all(type(layer) in (nn.Identity, LayerScale, DropPath) for layer in others)


def add_norm(x: Tensor, branch: Tensor, scale: nn.Module, norm: nn.LayerNorm) -> tuple[Tensor, Tensor]:
    """The sum x + scale * branch, and its norm.

    Args:
        x: (..., D) float32.
        branch: (..., D), float16 under autocast.
        scale: LayerScale, or Identity.
        norm: Of D values, with weight and bias.

    Returns:
        (..., D) float32, torch's bytes where `x` was float32; (..., D) of the type of `branch`.
    """
    x, branch = x.contiguous(), branch.contiguous()
    total, normed, width = torch.empty_like(x), torch.empty_like(branch), x.shape[-1]
    n_rows, columns = x.numel() // width, triton.next_power_of_2(width)
    rows = max(1, VALUES // columns)
    add_norm_kernel[(triton.cdiv(n_rows, rows),)](
        x, branch, getattr(scale, "gamma", None), norm.weight, norm.bias, total, normed, n_rows, norm.eps,
        WIDTH=width, COLUMNS=columns, ROWS=rows, num_warps=4, enable_fp_fusion=False,
    )  # fmt: skip
    return total, normed
