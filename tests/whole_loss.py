"""The loss of a batch in one call, for tests: targets, cross-entropies, terms."""

import torch
from torch import Tensor

from slpd.method.cross_entropy import LastLayer, LastLayers, cross_entropies
from slpd.method.losses import DistillationLoss, LossTerms, Targets
from slpd.settings.training import Training


def whole_loss(
    loss: DistillationLoss,
    training: Training,
    views: Tensor,
    *targets: Targets | None,
    weight: Tensor | None = None,
    teacher_weight: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[LossTerms, Tensor, Tensor, Tensor]:
    """Terms, loss, gradient by the views (V, B, D) and by the student's last layer (K, D), of unit rows.

    The targets are those of the teacher, of intra and of inter. Without weights, the
    last layers are the identity: vectors are their logits.
    """
    weight = torch.eye(views.shape[-1]) if weight is None else weight
    teacher_weight = torch.eye(views.shape[-1]) if teacher_weight is None else teacher_weight
    student, teacher = (LastLayer(rows.to(dtype), torch.ones(len(rows))) for rows in (weight, teacher_weight))
    pulls = loss.pulls(len(views), *targets, teacher)
    layers = LastLayers(
        student,
        teacher,
        pulls.centres,
        training.student_temperature,
        training.teacher_temperature,
    )
    gradient = torch.zeros_like(weight)
    found = cross_entropies(views.detach(), pulls.vectors, pulls.valid, pulls.pair_weights, layers, gradient)
    terms = pulls.collect(found.sums, found.entropies)
    return terms, loss.total(terms), found.view_gradients, gradient
