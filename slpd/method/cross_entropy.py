"""H(t, v) = - sum_k softmax((t - c) / teacher temperature)_k * log softmax(v / student temperature)_k, k over outputs.

The logits t and v are products of vectors of the bottleneck's length with tens of thousands of rows.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class LastLayer(NamedTuple):
    """Rows that count as if of length 1."""

    weight: Tensor  # (K, D) float32, of any length
    inverse_lengths: Tensor  # (K,)
    dtype: torch.dtype  # that products are made in

    def logits(self, vectors: Tensor, temperature: float = 1.0) -> Tensor:
        """(..., D) -> (..., K) float32: products with rows of length 1, by temperature.

        In float32, lengths are divided out of logits, so no second copy of the rows is held. Half precision copies
        them anyway, and then their lengths get their gradient from the rows', not by reading all logits once more.
        """
        if self.dtype == torch.float32:
            return F.linear(vectors, self.weight) * (self.inverse_lengths / temperature)
        rows = self.weight * self.inverse_lengths[:, None]
        products: Tensor = HalfProduct.apply(vectors.flatten(0, -2), rows, self.dtype)
        return products.view(*vectors.shape[:-1], -1) / temperature


class CrossEntropy(NamedTuple):
    """Of some regions, in nats."""

    pairs: Tensor  # (T, V, B) H of target t and view v of region b
    entropies: Tensor  # (T, B) of the targets' own softmax, without history


CrossEntropyOf = Callable[[Tensor, Tensor, tuple[LastLayer, LastLayer], Tensor, tuple[float, float]], CrossEntropy]


def cross_entropy(
    views: Tensor,
    targets: Tensor,
    layers: tuple[LastLayer, LastLayer],
    centres: Tensor,
    temperatures: tuple[float, float],
) -> CrossEntropy:
    """Every target with every view of its region.

    Args:
        views: (V, B, D) the student's vectors.
        targets: (T, B, D) vectors that the teacher's last layer turns into target logits.
        layers: The student's, the teacher's.
        centres: (T, K) c of each target.
        temperatures: The student's, the teacher's.
    """
    (student, teacher), (student_temperature, teacher_temperature) = layers, temperatures
    with torch.no_grad():
        centred = centred_logits(targets, teacher, centres, teacher_temperature)  # (B, T, K)
        log_p = centred.log_softmax(dim=-1)  # (B, T, K)
        p = log_p.exp()
        entropies = -(p * log_p).sum(dim=-1)
    log_q = student.logits(views.transpose(0, 1), student_temperature).log_softmax(dim=-1)  # (B, V, K)
    return CrossEntropy(-torch.einsum("btk,bvk->tvb", p, log_q), entropies.t())


def streamed(
    views: Tensor,
    targets: Tensor,
    layers: tuple[LastLayer, LastLayer],
    centres: Tensor,
    temperatures: tuple[float, float],
) -> CrossEntropy:
    """`cross_entropy` in the form to compile: H(t, v) = log sum_k exp v_k - sum_k p_k v_k.

    No softmax of a view is held: a compiler makes one kernel of all that reads the logits forward, and one back.
    """
    (student, teacher), (student_temperature, teacher_temperature) = layers, temperatures
    with torch.no_grad():
        centred = centred_logits(targets, teacher, centres, teacher_temperature)  # (B, T, K)
        log_total = centred.logsumexp(dim=-1, keepdim=True)
        p = (centred - log_total).exp()  # (B, T, K)
        entropies = log_total[..., 0] - (p * centred).sum(dim=-1)
    logits = student.logits(views.transpose(0, 1), student_temperature)  # (B, V, K)
    means = torch.stack([(logits * p[:, t, None]).sum(dim=-1) for t in range(len(targets))])  # (T, B, V)
    return CrossEntropy((logits.logsumexp(dim=-1) - means).transpose(1, 2), entropies.t())


def centred_logits(targets: Tensor, teacher: LastLayer, centres: Tensor, temperature: float) -> Tensor:
    """(T, B, D) targets -> (B, T, K): the teacher's logits less the centre of each target, by temperature."""
    return teacher.logits(targets.transpose(0, 1), temperature) - centres / temperature


class HalfProduct(torch.autograd.Function):
    """Product in half precision whose result and gradients are float32: 0.04 magnifies rounding."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, rows: Tensor, dtype: torch.dtype) -> Tensor:  # noqa: ANN401
        """(n, D), (K, D) -> (n, K)."""
        ctx.save_for_backward(vectors.to(dtype), rows.to(dtype))
        return float_product(vectors.to(dtype), rows.to(dtype).t())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # noqa: ANN401
        """By vectors and by rows."""
        vectors, rows = ctx.saved_tensors
        half = gradient.to(rows.dtype)
        return float_product(half, rows), float_product(half.t(), vectors), None


def float_product(a: Tensor, b: Tensor) -> Tensor:
    """A @ b of half precision as float32; on a GPU without rounding in between."""
    return torch.mm(a, b, out_dtype=torch.float32) if a.is_cuda else (a @ b).float()
