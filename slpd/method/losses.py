"""L = L_self + alpha1 * L_intra + alpha2 * L_inter (SLPD, Yu et al. 2023), with the centres of its targets."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from slpd.method.cross_entropy import LastLayer
from slpd.method.processes import sum_over_processes
from slpd.settings.training import Objective, Training


class Targets(NamedTuple):
    """Targets of one term for some of the regions of a batch.

    In a process among several, the regions are its share of the batch, and `counts` those of the whole batch.
    """

    vectors: Tensor  # (T, B, D) vectors that the teacher's last layer turns into logits
    valid: Tensor  # (T, B) bool, regions that have target t
    counts: Tensor  # (T,) float, valid regions of the whole batch


class LossTerms(NamedTuple):
    """What one step finds: the terms, unweighted, and two signs of collapse."""

    self_distillation: Tensor
    intra: Tensor
    inter: Tensor
    teacher_entropy: Tensor  # of the teacher's sharpened targets, nats; near 0 or ln(outputs): collapse
    feature_spread: Tensor  # variance of the teacher's unit vectors over the batch, 0 to 1; near 0: collapse


class Centre(nn.Module):
    """Running mean of target logits, subtracted before sharpening so that no output wins always."""

    value: Tensor

    def __init__(self, outputs: int, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(outputs))

    def update(self, targets: Targets, layer: LastLayer) -> Tensor:
        """Move towards the mean logits of all valid targets of the batch; without any, stay.

        The mean of logits is the logit of the mean vector.

        Returns:
            (D,) the mean vector.
        """
        total = sum_over_processes(torch.einsum("tbd,tb->d", targets.vectors.float(), targets.valid.float()))
        count = targets.counts.sum()
        mean = total / count.clamp(min=1)
        weight = (1 - self.momentum) * (count > 0)
        self.value.lerp_(layer.mean_logits(mean), weight)
        return mean


@dataclass(frozen=True)
class Pulls:
    """All targets of a batch, in one row after the other: of L_self, of L_intra, of L_inter."""

    vectors: Tensor  # (T, B, D)
    valid: Tensor  # (T, B)
    counts: Tensor  # (T,)
    centres: Tensor  # (T, K) what each is centred by
    shares: Tensor  # (T, V) of the mean over pairs of its term that a pair is
    weights: Tensor  # (T,) of the term in the loss
    terms: list[slice]  # rows of L_self, L_intra, L_inter
    feature_spread: Tensor

    @property
    def pair_weights(self) -> Tensor:
        """(T, V) what the cross-entropy of target t of one region under view v counts in the loss."""
        return self.shares * (self.weights / self.counts.clamp(min=1))[:, None]

    def collect(self, sums: Tensor, entropies: Tensor) -> LossTerms:
        """The terms, from cross-entropies (T, V) and entropies (T,) that are summed over regions."""
        per_target = (sums * self.shares).sum(dim=1) / self.counts.clamp(min=1)  # (T,)
        of_self = self.terms[0]
        entropy = entropies[of_self].sum() / self.counts[of_self].sum()
        own, intra, inter = (per_target[rows].sum() for rows in self.terms)
        return LossTerms(own, intra, inter, entropy, self.feature_spread)


class DistillationLoss(nn.Module):
    """The loss of a variant and the state it keeps: one centre for L_self, one that intra and inter share."""

    def __init__(self, outputs: int, training: Training, objective: Objective) -> None:
        super().__init__()
        self.objective = objective
        self.self_centre = Centre(outputs, training.centre_momentum)
        self.prototype_centre = Centre(outputs, training.centre_momentum)

    @torch.no_grad()
    def pulls(
        self, n_views: int, teacher: Targets, intra: Targets | None, inter: Targets | None, layer: LastLayer
    ) -> Pulls:
        """The targets of a batch, each with the centre it meets; a term updates its centre after its targets are made.

        Args:
            n_views: V, views of the student, the teacher's first.
            teacher: The teacher's views (T = 2).
            intra: Each region's own prototype (T = 1); None: no such term.
            inter: The corresponding prototypes of T neighbour slides; None: no such term.
            layer: The teacher's last layer.
        """
        shared = self.objective.prototype_centre == "shared"
        centres = [self.self_centre.value.expand(len(teacher.vectors), -1).clone()]
        mean = self.self_centre.update(teacher, layer)
        prototype_centre = self.self_centre if shared else self.prototype_centre
        none = Targets(teacher.vectors[:0], teacher.valid[:0], teacher.counts[:0])
        terms = [teacher, intra or none, inter or none]
        for targets in terms[1:]:
            centres.append(prototype_centre.value.expand(len(targets.vectors), -1).clone())
            if not shared and len(targets.vectors):  # shared: L_self's centre is borrowed as it is
                self.prototype_centre.update(targets, layer)
        skip_views = (True, *2 * (self.objective.prototype_views == "released",))
        shares = [pair_shares(len(t.vectors), n_views, skip, mean) for t, skip in zip(terms, skip_views, strict=True)]
        weights = (1.0, self.objective.intra, self.objective.inter)
        lengths = [len(targets.vectors) for targets in terms]
        ends = torch.tensor(lengths).cumsum(0).tolist()
        vectors, valid, counts = (torch.cat(parts) for parts in zip(*terms, strict=True))
        return Pulls(
            vectors,
            valid,
            counts,
            centres=torch.cat(centres),
            shares=torch.cat(shares),
            weights=torch.cat([mean.new_full((n,), weight) for n, weight in zip(lengths, weights, strict=True)]),
            terms=[slice(end - n, end) for n, end in zip(lengths, ends, strict=True)],
            feature_spread=1 - mean.square().sum(),
        )

    def total(self, terms: LossTerms) -> Tensor:
        """L_self + alpha1 * L_intra + alpha2 * L_inter."""
        return terms.self_distillation + self.objective.intra * terms.intra + self.objective.inter * terms.inter


def pair_shares(n_targets: int, n_views: int, skip_same_view: bool, like: Tensor) -> Tensor:
    """(T, V) equal shares of the counted (target, view) pairs; with `skip_same_view`, target i not under view i."""
    pairs = like.new_ones((n_targets, n_views))
    if skip_same_view:
        pairs.fill_diagonal_(0)
    return pairs / pairs.sum().clamp(min=1)
