"""Triton's side of `add_norm` in `fused_blocks`, which says what is computed."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["n_rows"])  # one kernel for all, so that the one tried is the one used
def add_norm_kernel(
    x, branch, scale, weight, bias, total, normed, n_rows, eps,
    WIDTH: tl.constexpr, COLUMNS: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Some rows of WIDTH values, in a power of two of columns; `scale` may be None.

    Threads hold four values in a row, of either type: with eight of float16, Triton would move values between threads.
    """
    row, column = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    inside = column < WIDTH
    places = tl.max_contiguous(row[:, None] * WIDTH + column[None, :], (1, 4))
    mask = (row[:, None] < n_rows) & inside[None, :]
    added = tl.load(branch + places, mask=mask, other=0.0).to(tl.float32)
    if scale is not None:
        added *= tl.load(scale + column, mask=inside, other=0.0)[None, :]
    sums = tl.load(x + places, mask=mask, other=0.0) + added
    tl.store(total + places, sums, mask=mask)
    centred = tl.where(mask, sums - (tl.sum(sums, 1) / WIDTH)[:, None], 0.0)
    scaling = tl.rsqrt(tl.sum(centred * centred, 1) / WIDTH + eps)
    w = tl.load(weight + column, mask=inside, other=0.0)
    b = tl.load(bias + column, mask=inside, other=0.0)
    rows = centred * scaling[:, None] * w[None, :] + b[None, :]
    tl.store(normed + places, rows.to(normed.dtype.element_ty), mask=mask)
