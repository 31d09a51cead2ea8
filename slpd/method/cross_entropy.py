"""Cross-entropy of all targets under all views over tens of thousands of outputs, in blocks of outputs.

View v of region b has a vector z, whose logits are s_k = z . w_k / student temperature, with the rows w_k of the last
layer, which count as if of length 1 (lengths are divided out of logits, so no second copy of the layer is held). Its
cross-entropy with a target p is

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


class LastLayer(NamedTuple):
    """Rows that count as if of length 1."""

    weight: Tensor  # (K, D) of any length, of the type that products are made in
    inverse_lengths: Tensor  # (K,) float32

    def mean_logits(self, mean: Tensor) -> Tensor:
        """(D,) float32 mean of vectors -> (K,) mean of their logits."""
        return float_product(self.weight, mean[:, None].to(self.weight.dtype))[:, 0] * self.inverse_lengths


class Rows(NamedTuple):
    """Vectors and what turns them into logits: x . w_k / (temperature |w_k|) - shift_k."""

    vectors: Tensor  # (n, D)
    layer: LastLayer
    temperature: float
    shift: Tensor | None  # (n, K); None: nothing

    def logits(self, block: slice) -> Tensor:
        """(n, block) float32."""
        logits = float_product(self.vectors, self.layer.weight[block].t())
        logits *= self.layer.inverse_lengths[block] / self.temperature
        return logits if self.shift is None else logits.sub_(self.shift[:, block])

    def log_sum_exp(self, over: Iterator[slice]) -> Tensor:
        """(n, 1) log-sum-exp of all logits of each row."""
        total = torch.full((len(self.vectors), 1), -torch.inf, device=self.vectors.device)
        for block in over:
            total = torch.logaddexp(total, self.logits(block).logsumexp(dim=1, keepdim=True))
        return total


class LastLayers(NamedTuple):
    """What turns vectors into logits on both sides."""

    student: LastLayer
    teacher: LastLayer
    centres: Tensor  # (T, K) float32, subtracted from target logits
    student_temperature: float
    teacher_temperature: float

    def view_rows(self, views: Tensor) -> Rows:
        """Views (V, B, D) as rows, view-major."""
        vectors = views.flatten(0, 1).to(self.student.weight.dtype)
        return Rows(vectors, self.student, self.student_temperature, None)

    def target_rows(self, targets: Tensor) -> Rows:
        """Targets (T, B, D) as rows, target-major."""
        shift = (self.centres / self.teacher_temperature).repeat_interleave(targets.shape[1], dim=0)
        vectors = targets.flatten(0, 1).to(self.teacher.weight.dtype)
        return Rows(vectors, self.teacher, self.teacher_temperature, shift)


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
    layers: LastLayers,
    weight_gradient: Tensor,
) -> CrossEntropies:
    """All cross-entropies of some regions, and the gradients of their weighted sum.

    Args:
        views: (V, B, D) the student's vectors, without history.
        targets: (T, B, D) vectors that the teacher's last layer turns into target logits.
        valid: (T, B) bool, regions that have target t.
        pair_weights: (T, V) what the cross-entropy of target t under view v counts.
        layers: Both last layers, centres and temperatures.
        weight_gradient: (K, D) float32, to which the gradient by the student's rows of length 1 is added.
    """
    V, B, D = views.shape
    n, temperature, layer = V * B, layers.student_temperature, layers.student
    student, teacher = layers.view_rows(views), layers.target_rows(targets)
    size = max(1, BLOCK_VALUES[views.device.type] // (n + len(teacher.vectors)))
    student_lse, teacher_lse = (rows.log_sum_exp(blocks(layer, size)) for rows in (student, teacher))

    present = valid.float()
    counted = torch.einsum("tv,tb->vb", pair_weights, present)  # what each view's log-sum-exp counts
    pulled = torch.einsum("tv,vbd->tbd", pair_weights, views.float()) * present[..., None]
    factors = torch.cat([views.float() * counted[..., None], -pulled]).flatten(0, 1)  # (n + T * B, D)
    means = torch.zeros_like(factors)  # sum_k p_k w_k of the view's softmax, or of the target
    expected = torch.zeros_like(teacher_lse)  # sum_k p_k log p_k of targets
    for block in blocks(layer, size):
        own = student.logits(block).sub_(student_lse).exp_()
        log_p = teacher.logits(block).sub_(teacher_lse)
        p = log_p.exp()
        expected += (p * log_p).sum(dim=1, keepdim=True)
        both = torch.cat([own, p])  # (n + T * B, block)
        add_product(weight_gradient[block], both.t(), factors, layer.weight.dtype, 1 / temperature)
        add_product(means, both.mul_(layer.inverse_lengths[block]), layer.weight[block], layer.weight.dtype, 1)

    softmax_means, target_means = means[:n].view(V, B, D), means[n:].view(-1, B, D) * present[..., None]
    gradients = softmax_means * counted[..., None] - torch.einsum("tv,tbd->vbd", pair_weights, target_means)
    inner = torch.einsum("tbd,vbd->tv", target_means, views.float()) / temperature
    sums = torch.einsum("tb,vb->tv", present, student_lse.view(V, B)) - inner
    entropies = -(expected.view(-1, B) * present).sum(dim=1)
    return CrossEntropies(sums, entropies, gradients / temperature)


def blocks(layer: LastLayer, size: int) -> Iterator[slice]:
    """Slices of at most `size` outputs."""
    n_outputs = len(layer.weight)
    return (slice(start, min(start + size, n_outputs)) for start in range(0, n_outputs, size))


def add_product(total: Tensor, a: Tensor, b: Tensor, dtype: torch.dtype, scale: float) -> None:
    """Add scale * a @ b, multiplied in `dtype`, to a float32 tensor."""
    if dtype == torch.float32:
        total.addmm_(a, b, alpha=scale)
    else:
        total.add_(float_product(a.to(dtype), b.to(dtype)), alpha=scale)


def float_product(a: Tensor, b: Tensor) -> Tensor:
    """A @ b as float32; of half precision, on a GPU without rounding in between."""
    if a.is_cuda and a.dtype != torch.float32:
        return torch.mm(a, b, out_dtype=torch.float32)
    return (a @ b).float()
