"""The loss of SLPD (Yu et al. 2023) and the centres of its targets.

    L = L_self + alpha1 * L_intra + alpha2 * L_inter

Every term pulls the student's views of a region to targets: L_self to the teacher's views of it, L_intra to its own
prototype, L_inter to the corresponding prototypes of similar slides (`TERMS` in `slpd/settings/training.py`). A term is
the mean of H(t, v) (`slpd/method/cross_entropy.py`) over its pairs of target t and view v, and over the regions of the
batch that have target t.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from slpd.method.cross_entropy import LastLayer, cross_entropy
from slpd.method.processes import sum_over_processes
from slpd.settings.training import SELF, TERMS, Objective, Term, Training


class Targets(NamedTuple):
    """Targets of one term for some of the regions of a batch.

    In a process among several, the regions are of its share of the batch, and `counts` those of the whole batch.
    """

    vectors: Tensor  # (T, B, D) that the teacher's last layer turns into logits
    valid: Tensor  # (T, B) bool, regions that have target t
    counts: Tensor  # (T,) float, valid regions of the whole batch

    def of_regions(self, part: slice) -> "Targets":
        """The same targets of some of the regions."""
        return Targets(self.vectors[:, part], self.valid[:, part], self.counts)

    def mean_over_regions(self, values: Tensor) -> Tensor:
        """(T, ..., B) -> (T, ...): these regions' share of the mean over all regions of the batch with the target."""
        sums = torch.einsum("t...b,tb->t...", values, self.valid.to(values.dtype))
        return sums / self.counts.clamp(min=1).view(-1, *[1] * (sums.ndim - 1))

    def mean_vector(self) -> Tensor:
        """(D,) mean of all valid vectors of the whole batch; zeros without any."""
        total = sum_over_processes(torch.einsum("tbd,tb->d", self.vectors.float(), self.valid.float()))
        return total / self.counts.sum().clamp(min=1)


class Centre(nn.Module):
    """Running mean of target logits, subtracted before sharpening so that no output wins always."""

    value: Tensor

    def __init__(self, outputs: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(outputs))

    def update(self, targets: Targets, layer: LastLayer) -> None:
        """Move towards the mean logits of all valid targets of the batch; without any, stay.

        The mean of logits is the logit of the mean vector.
        """
        weight = (1 - self.momentum) * (targets.counts.sum() > 0)
        self.value.lerp_(layer.logits(targets.mean_vector()[None])[0], weight)


class Goals(NamedTuple):
    """What some regions of a batch are pulled to."""

    targets: Mapping[Term, Targets]
    centres: Mapping[Term, Tensor]  # (K,) that the targets of a term meet

    def of_regions(self, part: slice) -> "Goals":
        """Of some of the regions."""
        return Goals({term: targets.of_regions(part) for term, targets in self.targets.items()}, self.centres)

    def stacked(self) -> tuple[Tensor, Tensor]:
        """Vectors (T, B, D) of the targets of all terms, and their centres (T, K)."""
        centres = [self.centres[term].expand(len(targets.vectors), -1) for term, targets in self.targets.items()]
        return torch.cat([targets.vectors for targets in self.targets.values()]), torch.cat(centres)

    def by_term(self, values: Tensor) -> dict[Term, Tensor]:
        """(T, ...) values of the targets of all terms, as those of each."""
        lengths = [len(targets.vectors) for targets in self.targets.values()]
        return dict(zip(self.targets, torch.split(values, lengths), strict=True))


class DistillationLoss(nn.Module):
    """The loss of a variant, and the state it keeps: a centre for L_self and one for all terms with prototypes."""

    def __init__(self, outputs: int, training: Training, objective: Objective) -> None:
        super().__init__()
        self.objective, self.cross_entropy = objective, cross_entropy
        self.temperatures = training.student_temperature, training.teacher_temperature
        self.self_centre = Centre(outputs, training.centre_momentum)
        self.prototype_centre = Centre(outputs, training.centre_momentum)

    @torch.no_grad()
    def goals(self, targets: Mapping[Term, Targets], layer: LastLayer) -> Goals:
        """The targets of a batch with their centres; a term moves its centre after its targets have met it.

        Args:
            targets: Of every term that the batch has, L_self first, whose centre others may borrow.
            layer: The teacher's last layer.
        """
        centres = {}
        for term, given in targets.items():
            has_own = self.objective.has_own_centre(term)
            centre = self.prototype_centre if has_own else self.self_centre
            centres[term] = centre.value.clone()
            if has_own or term is SELF:  # a term that borrows this centre leaves it as it is
                centre.update(given, layer)
        return Goals(targets, centres)

    def forward(self, views: Tensor, goals: Goals, student: LastLayer, teacher: LastLayer) -> dict[str, Tensor]:
        """The share that some regions have in what a batch gives.

        Args:
            views: (V, B, D) the student's vectors, views that the teacher sees first.
            goals: Of these regions.
            student: The student's last layer.
            teacher: The teacher's last layer.

        Returns:
            Name -> value: `loss`, every term unweighted (0: no targets), and `teacher_entropy`, of the teacher's views.
        """
        vectors, centres = goals.stacked()
        losses = self.cross_entropy(views, vectors, (student, teacher), centres, self.temperatures)
        values = dict.fromkeys(TERMS, views.new_zeros(()))
        for term, pairs in goals.by_term(losses.pairs).items():  # (T, V, B)
            of_batch = goals.targets[term].mean_over_regions(pairs)
            values[term] = mean_over_pairs(of_batch, self.objective.skips_same_view(term))
        loss = torch.stack([self.objective.weight(term) * value for term, value in values.items()]).sum()
        entropies = goals.targets[SELF].mean_over_regions(goals.by_term(losses.entropies)[SELF])
        of_terms = {term.name: value for term, value in values.items()}
        return {"loss": loss, **of_terms, "teacher_entropy": entropies.mean()}


def mean_over_pairs(values: Tensor, skip_same_view: bool) -> Tensor:
    """(T, V) -> mean over pairs of target and view; with `skip_same_view`, target i does not count with view i."""
    counted = torch.ones_like(values)
    if skip_same_view:
        counted.fill_diagonal_(0)
    return (values * counted).sum() / counted.sum().clamp(min=1)
