"""The loss equals the slow loop written from the equations, in value and gradient, and keeps its centres."""

import pytest
import torch
from small_training import TRAINING
from torch import Tensor

from slpd.method.losses import DistillationLoss, LossTerms, Targets
from slpd.settings.training import Objective

pytestmark = pytest.mark.torch

V, B, K = 5, 4, 7  # views, regions, outputs


def draw_targets(n_targets: int, valid: Tensor | None = None, seed: int = 0) -> Targets:
    logits = torch.randn(n_targets, B, K, generator=torch.Generator().manual_seed(seed))
    valid = torch.ones((n_targets, B), dtype=torch.bool) if valid is None else valid
    return Targets(logits, valid, valid.sum(dim=1).float())


def student_logits() -> Tensor:
    return torch.randn(V, B, K, generator=torch.Generator().manual_seed(9)).requires_grad_()


def make_loss(views: str = "all", centre: str = "own") -> DistillationLoss:
    objective = Objective(intra=1, inter=1, prototype_views=views, prototype_centre=centre)
    return DistillationLoss(K, TRAINING, objective)


def slow_term(student: Tensor, targets: Targets, centre: Tensor, skip_same_view: bool) -> Tensor:
    """Mean over (target, view) pairs of the mean over regions of the cross-entropy, one pair at a time."""
    pairs = []
    for t in range(len(targets.logits)):
        for v in range(len(student)):
            if skip_same_view and t == v:
                continue
            entropies = []
            for b in range(student.shape[1]):
                if targets.valid[t, b]:
                    q = torch.exp((targets.logits[t, b] - centre) / TRAINING.teacher_temperature)
                    p = torch.exp(student[v, b] / TRAINING.student_temperature)
                    entropies.append(-(q / q.sum() * torch.log(p / p.sum())).sum())
            pairs.append(torch.stack(entropies).mean() if entropies else student.sum() * 0)
    return torch.stack(pairs).mean()


def moved(centre: Tensor, targets: Targets) -> Tensor:
    if not targets.valid.any():
        return centre
    mean = targets.logits[targets.valid].mean(dim=0)
    return TRAINING.centre_momentum * centre + (1 - TRAINING.centre_momentum) * mean


@pytest.mark.parametrize("views", ["all", "released"])
@pytest.mark.parametrize("centre", ["own", "shared"])
def test_value_and_gradient_equal_the_slow_loop(views: str, centre: str) -> None:
    loss, skip = make_loss(views, centre), views == "released"
    some = torch.tensor([[True, False, True, True]])
    teacher, intra = draw_targets(2, seed=1), draw_targets(1, some, seed=2)
    inter = draw_targets(3, torch.cat([some, some, ~some]), seed=3)
    self_centre, prototype_centre = torch.zeros(K), torch.zeros(K)
    for _ in range(2):  # the second time with centres that have moved
        fast, slow = student_logits(), student_logits()
        terms = loss(fast, teacher, intra, inter)
        expected = [slow_term(slow, teacher, self_centre, skip_same_view=True)]
        self_centre = moved(self_centre, teacher)
        for targets in (intra, inter):
            used = prototype_centre if centre == "own" else self_centre
            expected.append(slow_term(slow, targets, used, skip))
            prototype_centre = moved(prototype_centre, targets) if centre == "own" else prototype_centre
        torch.testing.assert_close(torch.stack(terms[:3]), torch.stack(expected))
        weights = torch.tensor([1.0, 0.7, 0.3])
        (torch.stack(terms[:3]) * weights).sum().backward()
        (torch.stack(expected) * weights).sum().backward()
        torch.testing.assert_close(fast.grad, slow.grad)
        torch.testing.assert_close(loss.self_centre.value, self_centre)
        torch.testing.assert_close(loss.prototype_centre.value, prototype_centre)


def test_a_batch_without_kept_regions_adds_nothing_and_leaves_the_centre() -> None:
    loss, nobody = make_loss(), torch.zeros((1, B), dtype=torch.bool)
    loss(student_logits(), draw_targets(2), draw_targets(1), draw_targets(1))
    before = loss.prototype_centre.value.clone()
    student = student_logits()
    terms: LossTerms = loss(student, draw_targets(2), draw_targets(1, nobody), draw_targets(1, nobody))
    assert (terms.intra.item(), terms.inter.item()) == (0, 0)
    sum(terms[:3], torch.zeros(())).backward()
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert torch.equal(loss.prototype_centre.value, before)


def test_without_any_neighbour_the_inter_term_is_zero() -> None:
    """One slide with prototypes has no neighbour: T = 0."""
    loss, nobody = make_loss(), Targets(torch.zeros(0, B, K), torch.zeros((0, B), dtype=torch.bool), torch.zeros(0))
    terms = loss(student_logits(), draw_targets(2), draw_targets(1), nobody)
    assert terms.inter.item() == 0
    assert loss.prototype_centre.value.isfinite().all()


def test_logits_of_half_precision_give_float32_losses_near_those_of_float32() -> None:
    """Under autocast a GPU makes bfloat16 logits; centres and losses stay float32."""
    half, full = make_loss(), make_loss()
    for _ in range(2):
        student = student_logits()
        targets = [draw_targets(2, seed=1), draw_targets(1, seed=2), draw_targets(1, seed=3)]
        halves = [part._replace(logits=part.logits.bfloat16()) for part in targets]
        ours, theirs = half(student.bfloat16(), *halves), full(student, *targets)
        assert all(term.dtype == torch.float32 for term in ours)
        torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), rtol=0.1, atol=0.1)
    torch.testing.assert_close(half.self_centre.value, full.self_centre.value, rtol=0, atol=0.01)
    torch.stack(ours[:3]).sum().backward()
    assert student.grad is not None
    assert student.grad.dtype == torch.float32


def test_terms_that_are_not_asked_for_are_zero() -> None:
    terms = make_loss()(student_logits(), draw_targets(2), None, None)
    assert (terms.intra.item(), terms.inter.item()) == (0, 0)
    assert terms.self_distillation.item() > 0


def test_teacher_entropy_of_one_hot_and_of_even_targets() -> None:
    for logits, entropy in ((torch.eye(K)[:B] * 100, 0.0), (torch.zeros(B, K), torch.tensor(float(K)).log())):
        teacher = draw_targets(2)._replace(logits=logits.expand(2, B, K))
        terms = make_loss()(student_logits(), teacher, None, None)
        assert terms.teacher_entropy.item() == pytest.approx(float(entropy), abs=1e-6)


def test_targets_get_no_gradient() -> None:
    teacher = draw_targets(2)
    teacher.logits.requires_grad_()
    make_loss()(student_logits(), teacher, None, None).self_distillation.backward()
    assert teacher.logits.grad is None
