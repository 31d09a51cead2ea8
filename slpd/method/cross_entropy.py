"""Cross-entropy of all targets under all views over tens of thousands of outputs, in blocks of outputs.

View v of region b has a vector z, whose logits are s_k = z . w_k / student temperature, with the rows w_k of the last
layer, which count as if of length 1 (lengths are divided out of logits, so no second copy of the layer is held). Its
cross-entropy with a target p is

    log sum_k exp(s_k) - sum_k p_k s_k  =  log sum_k exp(s_k) - z . m / student temperature,   m = sum_k p_k w_k,

so all targets of a view share one log-sum-exp, and a target meets a view as two vectors of the bottleneck's
length, not as logits. The gradients, too, are sums over outputs: d/dz of the first part is sum_k softmax(s)_k w_k,
which has the form of m. These sums run over blocks of outputs with a running maximum, as in FlashAttention (Dao et al.
2022). The gradient of the last layer needs every exponential once more; they are held for a few regions at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK_VALUES = {"cpu": 2**18, "cuda": 2**26}  # logits made at a time: a core's cache; launches that fill a GPU
HELD_VALUES = {"cpu": 2**22, "cuda": 2**28}  # exponentials held at a time


class LastLayer(NamedTuple):
    """Rows that count as if of length 1."""

    weight: Tensor  # (K, D) of any length, of the type that products are made in
    inverse_lengths: Tensor  # (K,) float32

    def mean_logits(self, mean: Tensor) -> Tensor:
        """(D,) float32 mean of vectors -> (K,) mean of their logits."""
        return float_product(self.weight, mean[:, None].to(self.weight.dtype))[:, 0] * self.inverse_lengths


class LastLayers(NamedTuple):
    """What turns vectors into logits on both sides."""

    student: LastLayer
    teacher: LastLayer
    centres: Tensor  # (T, K) float32, subtracted from target logits
    student_temperature: float
    teacher_temperature: float

    def logits(self, views: Tensor, targets: Tensor, block: slice) -> Tensor:
        """(n, D) vectors of views, (T, B, D) of targets -> (n + T * B, block) float32 logits by temperature."""
        T, B, D = targets.shape
        of_views = float_product(views, self.student.weight[block].t())
        of_views *= self.student.inverse_lengths[block] / self.student_temperature
        of_targets = float_product(targets.reshape(T * B, D), self.teacher.weight[block].t())
        of_targets *= self.teacher.inverse_lengths[block] / self.teacher_temperature
        of_targets.view(T, B, -1).sub_(self.centres[:, None, block], alpha=1 / self.teacher_temperature)
        return torch.cat([of_views, of_targets])


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
    values_of_region = (len(views) + len(targets)) * len(layers.student.weight)
    size = max(1, HELD_VALUES[views.device.type] // values_of_region)
    found = [
        of_few_regions(
            views[:, start : start + size].float(),
            targets[:, start : start + size],
            valid[:, start : start + size].float(),
            pair_weights,
            layers,
            weight_gradient,
        )
        for start in range(0, views.shape[1], size)
    ]
    sums, entropies, gradients = zip(*found, strict=True)
    return CrossEntropies(torch.stack(sums).sum(dim=0), torch.stack(entropies).sum(dim=0), torch.cat(gradients, dim=1))


def of_few_regions(
    views: Tensor,
    targets: Tensor,
    present: Tensor,
    pair_weights: Tensor,
    layers: LastLayers,
    weight_gradient: Tensor,
) -> CrossEntropies:
    """`cross_entropies` of regions whose exponentials are held together; `present` is `valid` as 0 and 1."""
    V, B, D = views.shape
    counted = torch.einsum("tv,tb->vb", pair_weights, present)  # what each view's log-sum-exp counts
    pulled = torch.einsum("tv,vbd->tbd", pair_weights, views) * present[..., None]
    factors = torch.cat([views * counted[..., None], -pulled]).flatten(0, 1)  # (n + T * B, D)
    softmax = sum_over_outputs(views.flatten(0, 1), targets, layers)
    for block, exponentials, maximum in softmax.held:
        shares = factors * ((maximum - softmax.maximum).exp() / softmax.total)
        add_product(weight_gradient[block], exponentials.t(), shares, 1 / layers.student_temperature)

    temperature, n = layers.student_temperature, V * B
    means = softmax.weighted / softmax.total
    softmax_means, target_means = means[:n].view(V, B, D), means[n:].view(-1, B, D) * present[..., None]
    gradients = softmax_means * counted[..., None] - torch.einsum("tv,tbd->vbd", pair_weights, target_means)
    log_sum_exp = softmax.maximum + softmax.total.log()
    inner = torch.einsum("tbd,vbd->tv", target_means, views) / temperature
    sums = torch.einsum("tb,vb->tv", present, log_sum_exp[:n].view(V, B)) - inner
    entropies = ((log_sum_exp[n:] - softmax.expected / softmax.total[n:]).view(-1, B) * present).sum(dim=1)
    return CrossEntropies(sums, entropies, gradients / temperature)


@dataclass
class Softmax:
    """Sums over all outputs of exponentials of logits, less a maximum per row that grows from block to block."""

    maximum: Tensor  # (rows, 1)
    total: Tensor  # (rows, 1) of exponentials
    weighted: Tensor  # (rows, D) of exponentials times the student's rows of length 1
    expected: Tensor  # (T * B, 1) of exponentials times logits, of targets
    held: list[tuple[slice, Tensor, Tensor]]  # of every block the exponentials (rows, block), and their maximum


def sum_over_outputs(views: Tensor, targets: Tensor, layers: LastLayers) -> Softmax:
    """(n, D) views and (T, B, D) targets, as n + T * B rows."""
    layer, n, n_targets = layers.student, len(views), targets.shape[0] * targets.shape[1]
    dtype, rows = layer.weight.dtype, n + n_targets
    nothing = views.new_zeros((rows, 1))
    found = Softmax(nothing - torch.inf, nothing, views.new_zeros((rows, views.shape[1])), nothing[n:].clone(), [])
    vectors, goals = views.to(dtype), targets.to(dtype)
    for block in blocks(layer, max(1, BLOCK_VALUES[views.device.type] // rows)):
        logits = layers.logits(vectors, goals, block)
        of_targets = logits[n:].clone()
        maximum = torch.maximum(found.maximum, logits.amax(dim=1, keepdim=True))
        shrinking = (found.maximum - maximum).exp()
        exponentials = logits.sub_(maximum).exp_()
        found.maximum, found.total = maximum, found.total * shrinking + exponentials.sum(dim=1, keepdim=True)
        found.expected = found.expected * shrinking[n:] + (exponentials[n:] * of_targets).sum(dim=1, keepdim=True)
        found.weighted *= shrinking
        add_product(found.weighted, (exponentials * layer.inverse_lengths[block]).to(dtype), layer.weight[block], 1)
        found.held.append((block, exponentials.to(dtype), maximum))
    return found


def blocks(layer: LastLayer, size: int) -> Iterator[slice]:
    """Slices of at most `size` outputs."""
    n_outputs = len(layer.weight)
    return (slice(start, min(start + size, n_outputs)) for start in range(0, n_outputs, size))


def add_product(total: Tensor, a: Tensor, b: Tensor, scale: float) -> None:
    """Add scale * a @ b, multiplied in the type of a, to a float32 tensor."""
    if a.dtype == torch.float32:
        total.addmm_(a, b, alpha=scale)
    else:
        total.add_(float_product(a, b.to(a.dtype)), alpha=scale)


def float_product(a: Tensor, b: Tensor) -> Tensor:
    """A @ b as float32; of half precision, on a GPU without rounding in between."""
    if a.is_cuda and a.dtype != torch.float32:
        return torch.mm(a, b, out_dtype=torch.float32)
    return (a @ b).float()
