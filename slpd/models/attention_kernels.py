"""Triton's side of `short_attention`, which says what is computed.

Rows of tokens are `q_row` and `kv_row` values long; keys and values begin at `k_offset` and `v_offset` in theirs.
Softmax is made of powers of two, since GPUs have an instruction for these.
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def forward_kernel(
    tokens_q, tokens_kv, out, totals, n_queries, n_keys, q_row, kv_row, k_offset, v_offset, scale,
    HEADS: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """Some queries of one head of one view."""
    head, view = tl.program_id(0) % HEADS, (tl.program_id(0) // HEADS).to(tl.int64)
    at_q, at_k, of_head = tl.program_id(1) * QUERIES + tl.arange(0, QUERIES), tl.arange(0, KEYS), tl.arange(0, WIDTH)
    columns = head * WIDTH + of_head
    places_kv = (view * n_keys + at_k)[:, None] * kv_row + columns[None, :]
    k = tl.load(tokens_kv + places_kv + k_offset, mask=at_k[:, None] < n_keys, other=0.0)
    v = tl.load(tokens_kv + places_kv + v_offset, mask=at_k[:, None] < n_keys, other=0.0)
    rows = view * n_queries + at_q
    q = tl.load(tokens_q + rows[:, None] * q_row + columns[None, :], mask=at_q[:, None] < n_queries, other=0.0)
    scores = tl.where(at_k[None, :] < n_keys, tl.dot(q, tl.trans(k)) * (scale * LOG2_E), float("-inf"))
    largest = tl.max(scores, 1)
    p = tl.exp2(scores - largest[:, None])
    total = tl.sum(p, 1)
    mixed = tl.dot(p.to(v.dtype), v) / total[:, None]
    tl.store(totals + rows * HEADS + head, largest + tl.log2(total), mask=at_q < n_queries)
    places = rows[:, None] * (HEADS * WIDTH) + columns[None, :]
    tl.store(out + places, mixed.to(out.dtype.element_ty), mask=at_q[:, None] < n_queries)


@triton.jit
def backward_kernel(
    tokens_q, tokens_kv, out, totals, gradient, gradients, n_queries, n_keys, q_row, kv_row, k_offset, v_offset,
    kv_start, scale, HEADS: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
):  # fmt: skip
    """One head of one view: all its gradients, into `gradients`, where those of keys and values begin at `kv_start`."""
    head, view = tl.program_id(0) % HEADS, (tl.program_id(0) // HEADS).to(tl.int64)
    at_k, of_head = tl.arange(0, KEYS), tl.arange(0, WIDTH)
    columns = head * WIDTH + of_head
    places_kv = (view * n_keys + at_k)[:, None] * kv_row + columns[None, :]
    k = tl.load(tokens_kv + places_kv + k_offset, mask=at_k[:, None] < n_keys, other=0.0)
    v = tl.load(tokens_kv + places_kv + v_offset, mask=at_k[:, None] < n_keys, other=0.0)
    dk = tl.zeros((KEYS, WIDTH), tl.float32)
    dv = tl.zeros((KEYS, WIDTH), tl.float32)
    for first in range(0, n_queries, QUERIES):
        at_q = first + tl.arange(0, QUERIES)
        rows = view * n_queries + at_q
        places_q = rows[:, None] * q_row + columns[None, :]
        q = tl.load(tokens_q + places_q, mask=at_q[:, None] < n_queries, other=0.0)
        places_o = rows[:, None] * (HEADS * WIDTH) + columns[None, :]
        g = tl.load(gradient + places_o, mask=at_q[:, None] < n_queries, other=0.0)
        o = tl.load(out + places_o, mask=at_q[:, None] < n_queries, other=0.0)
        total = tl.load(totals + rows * HEADS + head, mask=at_q < n_queries, other=0.0)
        own = tl.sum(g.to(tl.float32) * o.to(tl.float32), 1)
        p = tl.exp2(tl.dot(k, tl.trans(q)) * (scale * LOG2_E) - total[None, :])  # (KEYS, QUERIES)
        p = tl.where(at_k[:, None] < n_keys, p, 0.0)
        dv += tl.dot(p.to(g.dtype), g)
        ds = (p * (tl.dot(v, tl.trans(g)) - own[None, :]) * scale).to(q.dtype)
        dk += tl.dot(ds, q)
        dq = tl.dot(tl.trans(ds), k)
        tl.store(gradients + places_q, dq.to(gradients.dtype.element_ty), mask=at_q[:, None] < n_queries)
    tl.store(
        gradients + kv_start + places_kv + k_offset, dk.to(gradients.dtype.element_ty), mask=at_k[:, None] < n_keys
    )
    tl.store(
        gradients + kv_start + places_kv + v_offset, dv.to(gradients.dtype.element_ty), mask=at_k[:, None] < n_keys
    )
