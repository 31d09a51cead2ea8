"""Attention of few, narrow tokens in one kernel forward and one back, for GPUs.

Views have 37 or 197 tokens and heads are 32 wide. The kernels that torch has are made for long rows of wide heads, and
want queries, keys and values apart. Here all keys of a head are held at once, so that its softmax is made whole, and
tokens are read and gradients written where the products before and after have them.

Of one head, s = scale * q k^T, p = softmax(s) and o = p v. With the gradient g of o: dv = p^T g,
ds = p * (g v^T - rowsum(g * o)), dq = scale * ds k and dk = scale * ds^T q. Forward keeps log sum exp s, from which p
comes back without another sum. Going back, keys are rows and queries columns: p^T and ds^T are what three of five
products need.

The sizes of blocks are those that were fastest on an H200. To torch's compiler both kernels are one operation each:
compiled as parts of a network, they ran four times slower there than launched by Triton.
"""

from typing import Any

import torch
import triton
from torch import Tensor
from torch.library import custom_op

from slpd.models.attention_kernels import backward_kernel, forward_kernel
from slpd.models.region_encoder import attend_by_torch

MOST_TOKENS = 256  # of which all keys of a head are held at once
WIDTHS = (16, 32, 64)  # of a head
QUERIES = 64  # at a time


def attend(tokens_q: Tensor, tokens_kv: Tensor, heads: int) -> Tensor:
    """`attend_by_torch` without a mask, by these kernels where they take such heads."""
    n_keys, columns = tokens_kv.shape[1:]
    width = columns // (heads * (3 if tokens_kv.shape == tokens_q.shape else 2))
    if width in WIDTHS and n_keys <= MOST_TOKENS:
        mixed: Tensor = forward(tokens_q, tokens_kv, heads)[0]
        return mixed
    return attend_by_torch(tokens_q, tokens_kv, heads, None)


def power_of_two(n: int) -> int:
    """The next one from n, at least the 16 that a product takes."""
    return max(16, 1 << (n - 1).bit_length())


@custom_op("slpd::attend", mutates_args=())
def forward(tokens_q: Tensor, tokens_kv: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Attention of every head.

    Args:
        tokens_q: (B, N, 3 D) queries, keys and values of N tokens, as (3, heads, head width); or (B, n, D) queries.
        tokens_kv: The same; or (B, N, 2 D) keys and values.
        heads: Their number.

    Returns:
        (B, n, D), heads side by side; (B, n, heads) float32, log2 of the sum that each softmax divides by.
    """
    out, totals = results_like(tokens_q, tokens_kv, heads)
    B, n_queries, width = out.shape
    queries = min(QUERIES, power_of_two(n_queries))
    forward_kernel[(B * heads, triton.cdiv(n_queries, queries))](
        tokens_q, tokens_kv, out, totals, *layout(tokens_q, tokens_kv), (width // heads) ** -0.5,
        HEADS=heads, WIDTH=width // heads, QUERIES=queries, KEYS=power_of_two(tokens_kv.shape[1]),
        num_warps=4, num_stages=1,
    )  # fmt: skip
    return out, totals


@forward.register_fake
def results_like(tokens_q: Tensor, tokens_kv: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """What `forward` fills."""
    B, n_queries, _ = tokens_q.shape
    width = tokens_kv.shape[2] // (3 if tokens_kv.shape == tokens_q.shape else 2)
    return tokens_q.new_empty((B, n_queries, width)), tokens_q.new_empty((B, n_queries, heads), dtype=torch.float32)


@custom_op("slpd::attend_back", mutates_args=())
def backward(tokens_q: Tensor, tokens_kv: Tensor, out: Tensor, totals: Tensor, gradient: Tensor, heads: int) -> Tensor:
    """The gradients of `tokens_q` and, where they are not the same, after them those of `tokens_kv`, in one row."""
    B, n_queries, width = gradient.shape
    gradients: Tensor = gradients_like(tokens_q, tokens_kv, out, totals, gradient, heads)
    keys = power_of_two(tokens_kv.shape[1])
    backward_kernel[(B * heads,)](
        tokens_q, tokens_kv, out, totals, gradient, gradients, *layout(tokens_q, tokens_kv),
        0 if tokens_q.shape == tokens_kv.shape else tokens_q.numel(), (width // heads) ** -0.5,
        HEADS=heads, WIDTH=width // heads, QUERIES=min(QUERIES, power_of_two(n_queries)), KEYS=keys,
        num_warps=4 if keys <= QUERIES else 8, num_stages=1,
    )  # fmt: skip
    return gradients


@backward.register_fake
def gradients_like(
    tokens_q: Tensor,
    tokens_kv: Tensor,
    out: Tensor,
    totals: Tensor,
    gradient: Tensor,
    heads: int,
) -> Tensor:
    """What `backward` fills."""
    n_others = 0 if tokens_q.shape == tokens_kv.shape else tokens_kv.numel()
    return tokens_q.new_empty(tokens_q.numel() + n_others)


def layout(tokens_q: Tensor, tokens_kv: Tensor) -> tuple[int, int, int, int, int, int]:
    """Queries, keys, the lengths of their rows, and where keys and values begin in theirs."""
    (_, n_queries, q_row), (_, n_keys, kv_row) = tokens_q.shape, tokens_kv.shape
    packed = tokens_q.shape == tokens_kv.shape
    width = kv_row // (3 if packed else 2)
    return n_queries, n_keys, q_row, kv_row, width if packed else 0, 2 * width if packed else width


def keep(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401
    """For the way back."""
    tokens_q, tokens_kv, ctx.heads = inputs
    ctx.save_for_backward(tokens_q, tokens_kv, *output)
    ctx.mark_non_differentiable(output[1])


def gradients_of(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor, Tensor | None, None]:  # noqa: ANN401
    """Of queries and of keys with values; packed ones are counted once."""
    tokens_q, tokens_kv, out, totals = ctx.saved_tensors
    gradients = backward(tokens_q, tokens_kv, out, totals, gradient.contiguous(), ctx.heads)
    if tokens_q.shape == tokens_kv.shape:
        return gradients.view_as(tokens_q), None, None
    n = tokens_q.numel()
    return gradients[:n].view_as(tokens_q), gradients[n:].view_as(tokens_kv), None


forward.register_autograd(gradients_of, setup_context=keep)
