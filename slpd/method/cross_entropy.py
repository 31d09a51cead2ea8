"""Cross-entropy of all targets under all views over tens of thousands of outputs, in blocks of outputs.

View v of region b has a vector z, whose logits are s_k = z . w_k / student temperature, with the unit rows w_k of the
last layer. Its cross-entropy with a target p is

    log sum_k exp(s_k) - sum_k p_k s_k  =  log sum_k exp(s_k) - z . m / student temperature,   m = sum_k p_k w_k,

so all targets of a view share one log-sum-exp, and a target meets a view as two vectors of the bottleneck's
length, not as logits. The gradients, too, are sums over outputs: d/dz of the first part is sum_k softmax(s)_k w_k,
which has the form of m. Nothing of the size (views, regions, outputs) or (targets, regions, outputs) is
ever held: logits are made block by block, twice, once for the normalisers and once for the sums.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_VALUES = {"cpu": 2**18, "cuda": 2**26}  # logits held at a time: a core's cache; launches that fill a GPU


class Rows(NamedTuple):
    """Vectors and the layer that turns them into logits: scale * x . w_k - shift_k."""

    vectors: Tensor  # (n, D)
    weight: Tensor  # (K, D) unit rows
    scale: float  # 1 / temperature
    shift: Tensor | None  # (n or 1, K) subtracted after scaling; None: nothing

    def logits(self, block: slice, normaliser: Tensor) -> Tensor:
        """(n, block) float32 logits less a normaliser per row, (n, 1)."""
        logits = product(self.vectors, self.weight[block].t(), -normaliser, self.scale)
        return logits if self.shift is None else logits.sub_(self.shift[:, block])


class CrossEntropies(NamedTuple):
    """What `cross_entropies` finds."""

    sums: Tensor  # (T, V) summed over the regions that have target t
    entropies: Tensor  # (T,) entropy of the targets in nats, summed likewise
    view_gradients: Tensor  # (V, B, D)


def cross_entropies(
    views: Tensor,
    targets: Tensor,
    valid: Tensor,
    pair_weights: Tensor,
    layers: "LastLayers",
    weight_gradient: Tensor,
) -> CrossEntropies:
    """All cross-entropies of some regions, and the gradients of their weighted sum.

    Args:
        views: (V, B, D) the student's vectors, without history.
        targets: (T, B, D) vectors that the teacher's last layer turns into target logits.
        valid: (T, B) bool, regions that have target t.
        pair_weights: (T, V) what the cross-entropy of target t under view v counts.
        layers: Both last layers, centres and temperatures.
        weight_gradient: (K, D) float32, to which the gradient by the student's unit rows is added.
    """
    V, B, D = views.shape
    n, n_outputs = V * B, len(layers.student)
    student = Rows(views.flatten(0, 1).to(layers.student.dtype), layers.student, 1 / layers.student_temperature, None)
    teacher = layers.target_rows(targets)
    size = max(1, BLOCK_VALUES[views.device.type] // (n + len(teacher.vectors)))
    student_lse, teacher_lse = (log_sum_exp(rows, blocks(n_outputs, size)) for rows in (student, teacher))

    present = valid.float()
    counted = torch.einsum("tv,tb->vb", pair_weights, present)  # what each view's log-sum-exp counts
    pulled = torch.einsum("tv,vbd->tbd", pair_weights, views.float()) * present[..., None]
    factors = torch.cat([views.float() * counted[..., None], -pulled]).flatten(0, 1)  # (n + T * B, D)
    means = torch.zeros_like(factors)  # sum_k p_k w_k of the view's softmax, or of the target
    expected = torch.zeros_like(teacher_lse)  # sum_k p_k log p_k of targets
    for block in blocks(n_outputs, size):
        own = student.logits(block, student_lse).exp_()
        log_p = teacher.logits(block, teacher_lse)
        p = log_p.exp()
        expected += (p * log_p).sum(dim=1, keepdim=True)
        both = torch.cat([own, p]).to(layers.student.dtype)  # (n + T * B, block)
        add_product(means, both, layers.student[block])
        add_product(weight_gradient[block], both.t(), factors.to(both.dtype), student.scale)

    softmax_means, target_means = means[:n].view(V, B, D), means[n:].view(-1, B, D)
    gradients = softmax_means * counted[..., None]
    gradients -= torch.einsum("tv,tbd->vbd", pair_weights, target_means * present[..., None])
    inner = torch.einsum("tbd,vbd->tv", target_means * present[..., None], views.float()) * student.scale
    sums = torch.einsum("tb,vb->tv", present, student_lse.view(V, B)) - inner
    entropies = -(expected.view(-1, B) * present).sum(dim=1)
    return CrossEntropies(sums, entropies, gradients * student.scale)


class LastLayers(NamedTuple):
    """What turns vectors into logits on both sides."""

    student: Tensor  # (K, D) unit rows, of the type that products are made in
    teacher: Tensor  # (K, D)
    centres: Tensor  # (T, K) float32, subtracted from target logits
    student_temperature: float
    teacher_temperature: float

    def target_rows(self, targets: Tensor) -> Rows:
        """Targets (T, B, D) as rows, target-major."""
        shift = (self.centres / self.teacher_temperature).repeat_interleave(targets.shape[1], dim=0)
        vectors = targets.flatten(0, 1).to(self.teacher.dtype)
        return Rows(vectors, self.teacher, 1 / self.teacher_temperature, shift)


def log_sum_exp(rows: Rows, over: Iterator[slice]) -> Tensor:
    """(n, 1) log-sum-exp of all logits of each row."""
    nothing = rows.vectors.new_zeros((len(rows.vectors), 1), dtype=torch.float32)
    total = torch.full_like(nothing, -torch.inf)
    for block in over:
        total = torch.logaddexp(total, rows.logits(block, nothing).logsumexp(dim=1, keepdim=True))
    return total


def blocks(n_outputs: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` outputs."""
    return (slice(start, min(start + size, n_outputs)) for start in range(0, n_outputs, size))


def product(a: Tensor, b: Tensor, start: Tensor, scale: float) -> Tensor:
    """Start + scale * a @ b in float32, whatever the type of a and b."""
    if a.dtype == torch.float32:
        return torch.addmm(start, a, b, alpha=scale)
    return float_product(a, b).mul_(scale).add_(start)


def add_product(total: Tensor, a: Tensor, b: Tensor, scale: float = 1.0) -> None:
    """Add scale * a @ b to a float32 tensor."""
    if a.dtype == torch.float32:
        total.addmm_(a, b, alpha=scale)
    else:
        total.add_(float_product(a, b), alpha=scale)


def float_product(a: Tensor, b: Tensor) -> Tensor:
    """A @ b of half precision, as float32; on a GPU without rounding in between."""
    return torch.mm(a, b, out_dtype=torch.float32) if a.is_cuda else (a @ b).float()
