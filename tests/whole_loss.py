"""The loss of a batch in one call, for tests: targets, cross-entropies, terms."""

from collections.abc import Mapping

import torch
from torch import Tensor

from slpd.method.cross_entropy import LastLayer
from slpd.method.losses import DistillationLoss, Targets
from slpd.settings.training import Term


def whole_loss(
    loss: DistillationLoss,
    views: Tensor,
    targets: Mapping[Term, Targets],
    weight: Tensor | None = None,
    teacher_weight: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """What the loss gives, its gradient by the views (V, B, D) and by the student's last layer (K, D), of unit rows.

    Without weights, the last layers are the identity: vectors are their logits.
    """
    identity = torch.eye(views.shape[-1])
    views = views.detach().requires_grad_()
    weight = (identity if weight is None else weight).detach().clone().requires_grad_()
    teacher_weight = identity if teacher_weight is None else teacher_weight
    student, teacher = (LastLayer(rows, torch.ones(len(rows)), dtype) for rows in (weight, teacher_weight))
    found = loss(views, loss.goals(targets, teacher), student, teacher)
    found["loss"].backward()
    assert views.grad is not None
    assert weight.grad is not None
    return {name: value.detach() for name, value in found.items()}, views.grad, weight.grad
