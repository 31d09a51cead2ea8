"""L = L_self + alpha1 * L_intra + alpha2 * L_inter (SLPD, Yu et al. 2023), with the centres of its targets."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from slpd.method.processes import sum_over_processes
from slpd.settings.training import Objective, Training


class Targets(NamedTuple):
    """Targets of one term: teacher logits for some of the regions of a batch.

    In a process among several, the regions are its share of the batch, and `counts` those of the whole batch.
    """

    logits: Tensor  # (T, B, K)
    valid: Tensor  # (T, B) bool, regions that have target t
    counts: Tensor  # (T,) float, valid regions of the whole batch


class LossTerms(NamedTuple):
    """The terms of one step, unweighted; entropy of the teacher's sharpened targets in nats."""

    self_distillation: Tensor
    intra: Tensor
    inter: Tensor
    teacher_entropy: Tensor


class Centre(nn.Module):
    """Running mean of target logits, subtracted before sharpening so that no output wins always."""

    value: Tensor

    def __init__(self, outputs: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(outputs))

    @torch.no_grad()
    def update(self, targets: Targets) -> None:
        """Move towards the mean logits of all valid targets of the batch; without any, stay."""
        total = sum_over_processes(torch.einsum("tbk,tb->k", targets.logits, targets.valid.float()))
        count = targets.counts.sum()
        weight = (1 - self.momentum) * (count > 0)
        self.value.lerp_(total / count.clamp(min=1), weight)


class DistillationLoss(nn.Module):
    """The loss of a variant and the state it keeps: one centre for L_self, one that intra and inter share."""

    def __init__(self, outputs: int, training: Training, objective: Objective) -> None:
        super().__init__()
        self.student_temperature = training.student_temperature
        self.teacher_temperature = training.teacher_temperature
        self.skip_same_view = objective.prototype_views == "released"
        self.shared_centre = objective.prototype_centre == "shared"
        self.self_centre = Centre(outputs, training.centre_momentum)
        self.prototype_centre = Centre(outputs, training.centre_momentum)

    def forward(self, student: Tensor, teacher: Targets, intra: Targets | None, inter: Targets | None) -> LossTerms:
        """The loss terms of a batch; each term updates its centre after its targets are made.

        Cross-entropy is linear in its target, so all pairs of (target, view) need one log-softmax and one
        product: entry (t, v) of `inner` is the summed log-likelihood of target t under view v.

        Args:
            student: (V, B, K) logits of all views, the teacher's views first.
            teacher: Logits of the teacher's views (T = 2).
            intra: Logits of each region's own prototype (T = 1); None: no such term.
            inter: Logits of the corresponding prototypes of T neighbour slides; None: no such term.
        """
        teacher, intra, inter = as_float(teacher), intra and as_float(intra), inter and as_float(inter)
        log_p = F.log_softmax(student.float() / self.student_temperature, dim=-1)  # (V, B, K)
        prototype_centre = self.self_centre if self.shared_centre else self.prototype_centre
        parts = [self.sharpen(teacher, self.self_centre)]
        entropy = -torch.special.xlogy(parts[0], parts[0]).sum() / teacher.counts.sum()
        self.self_centre.update(teacher)
        for targets in (intra, inter):
            if targets is not None:
                parts.append(self.sharpen(targets, prototype_centre))
                if not self.shared_centre:  # else L_self's centre is borrowed as it is
                    self.prototype_centre.update(targets)
        inner = torch.einsum("tbk,vbk->tv", torch.cat(parts), log_p)  # (2 + 1 + T_inter, V)
        rows = iter(torch.split(inner, [len(part) for part in parts]))
        zero = student.new_zeros((), dtype=torch.float32)
        return LossTerms(
            mean_cross_entropy(next(rows), teacher.counts, skip_same_view=True),
            zero if intra is None else mean_cross_entropy(next(rows), intra.counts, self.skip_same_view),
            zero if inter is None else mean_cross_entropy(next(rows), inter.counts, self.skip_same_view),
            entropy,
        )

    @torch.no_grad()
    def sharpen(self, targets: Targets, centre: Centre) -> Tensor:
        """(T, B, K) target probabilities; all zero for regions without the target."""
        p = F.softmax((targets.logits - centre.value) / self.teacher_temperature, dim=-1)
        return p * targets.valid[..., None]


def mean_cross_entropy(inner: Tensor, counts: Tensor, skip_same_view: bool) -> Tensor:
    """Cross-entropy, averaged over regions, then over the counted (target, view) pairs.

    Args:
        inner: (T, V) log-likelihood of target t under view v, summed over regions.
        counts: (T,) regions that have target t.
        skip_same_view: Target i is not paired with view i.

    Returns:
        The mean; 0 where no region has a target.
    """
    pairs = torch.ones_like(inner)
    if skip_same_view:
        pairs.fill_diagonal_(0)
    per_pair = -inner / counts.clamp(min=1)[:, None]  # (T, V)
    return (per_pair * pairs).sum() / pairs.sum().clamp(min=1)  # no pair at all: no slide has a neighbour


def as_float(targets: Targets) -> Targets:
    """Targets whose logits are float32; autocast makes them of half precision."""
    return targets._replace(logits=targets.logits.float())
