"""The loss equals the slow loop written from the equations, in value and gradient, and keeps its centres."""

import pytest
import torch
from small_training import TRAINING
from torch import Tensor
from whole_loss import whole_loss

from slpd.method.cross_entropy import CrossEntropyOf, cross_entropy, streamed
from slpd.method.losses import DistillationLoss, Targets
from slpd.settings.training import INTER, INTRA, SELF, TERMS, Objective
from slpd.training.learner import feature_spread

pytestmark = pytest.mark.torch

V, B, K, D = 5, 4, 23, 7  # views, regions, outputs, bottleneck
WEIGHTS = torch.tensor([1.0, 0.7, 0.3])  # of the terms


def noise(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unit(values: Tensor) -> Tensor:
    return torch.nn.functional.normalize(values, dim=-1)


def draw_targets(n_targets: int, valid: Tensor | None = None, seed: int = 0) -> Targets:
    valid = torch.ones((n_targets, B), dtype=torch.bool) if valid is None else valid
    return Targets(unit(noise(n_targets, B, D, seed=seed)), valid, valid.sum(dim=1).float())


def make_loss(
    views: str = "all", centre: str = "own", outputs: int = K, form: CrossEntropyOf = cross_entropy
) -> DistillationLoss:
    objective = Objective(
        intra=WEIGHTS[1].item(), inter=WEIGHTS[2].item(), prototype_views=views, prototype_centre=centre
    )
    loss = DistillationLoss(outputs, TRAINING, objective)
    loss.cross_entropy = form
    return loss


def terms_of(found: dict[str, Tensor]) -> Tensor:
    return torch.stack([found[term.name] for term in TERMS])


STUDENT_WEIGHT, TEACHER_WEIGHT = unit(noise(K, D, seed=20)), unit(noise(K, D, seed=21))


def slow_term(student: Tensor, targets: Targets, centre: Tensor, skip_same_view: bool) -> Tensor:
    """Mean over (target, view) pairs of the mean over regions of the cross-entropy of logits, one pair at a time."""
    logits = targets.vectors @ TEACHER_WEIGHT.T
    pairs = []
    for t in range(len(logits)):
        for v in range(len(student)):
            if skip_same_view and t == v:
                continue
            entropies = []
            for b in range(student.shape[1]):
                if targets.valid[t, b]:
                    q = torch.exp((logits[t, b] - centre) / TRAINING.teacher_temperature)
                    p = torch.exp(student[v, b] / TRAINING.student_temperature)
                    entropies.append(-(q / q.sum() * torch.log(p / p.sum())).sum())
            pairs.append(torch.stack(entropies).mean() if entropies else student.sum() * 0)
    return torch.stack(pairs).mean()


def moved(centre: Tensor, targets: Targets) -> Tensor:
    if not targets.valid.any():
        return centre
    mean = (targets.vectors @ TEACHER_WEIGHT.T)[targets.valid].mean(dim=0)
    return TRAINING.centre_momentum * centre + (1 - TRAINING.centre_momentum) * mean


@pytest.mark.parametrize("views", ["all", "released"])
@pytest.mark.parametrize("centre", ["own", "shared"])
@pytest.mark.parametrize("form", [cross_entropy, streamed])
def test_value_and_gradient_equal_the_slow_loop(views: str, centre: str, form: CrossEntropyOf) -> None:
    loss, skip = make_loss(views, centre, form=form), views == "released"
    some = torch.tensor([[True, False, True, True]])
    teacher, intra = draw_targets(2, seed=1), draw_targets(1, some, seed=2)
    inter = draw_targets(3, torch.cat([some, some, ~some]), seed=3)
    self_centre, prototype_centre = torch.zeros(K), torch.zeros(K)
    for _ in range(2):  # the second time with centres that have moved
        vectors, weight = unit(noise(V, B, D, seed=9)).requires_grad_(), STUDENT_WEIGHT.clone().requires_grad_()
        targets = {SELF: teacher, INTRA: intra, INTER: inter}
        found, by_view, by_weight = whole_loss(loss, vectors, targets, STUDENT_WEIGHT, TEACHER_WEIGHT)
        logits = vectors @ weight.T
        expected = [slow_term(logits, teacher, self_centre, skip_same_view=True)]
        self_centre = moved(self_centre, teacher)
        for prototypes in (intra, inter):
            used = prototype_centre if centre == "own" else self_centre
            expected.append(slow_term(logits, prototypes, used, skip))
            prototype_centre = moved(prototype_centre, prototypes) if centre == "own" else prototype_centre
        torch.testing.assert_close(terms_of(found), torch.stack(expected))
        slow_total = (torch.stack(expected) * WEIGHTS).sum()
        torch.testing.assert_close(found["loss"], slow_total)
        slow_total.backward()
        torch.testing.assert_close(by_view, vectors.grad)
        torch.testing.assert_close(by_weight, weight.grad)
        torch.testing.assert_close(loss.self_centre.value, self_centre)
        torch.testing.assert_close(loss.prototype_centre.value, prototype_centre)


@pytest.mark.parametrize("form", [cross_entropy, streamed])
def test_logits_far_from_zero_do_not_overflow(form: CrossEntropyOf) -> None:
    """exp(1000) is no float: normalisers are taken before exponentials."""
    far = draw_targets(2)._replace(vectors=1e3 * torch.eye(D)[:B].expand(2, B, D))
    found, by_view, _ = whole_loss(make_loss(outputs=D, form=form), 1e3 * torch.eye(D)[:B].expand(V, B, D), {SELF: far})
    assert found["self_distillation"].item() == pytest.approx(0, abs=1e-5)
    assert by_view.isfinite().all()


def test_a_batch_without_kept_regions_adds_nothing_and_leaves_the_centre() -> None:
    loss, nobody = make_loss(outputs=D), torch.zeros((1, B), dtype=torch.bool)
    views = noise(V, B, D, seed=9)
    whole_loss(loss, views, {SELF: draw_targets(2), INTRA: draw_targets(1), INTER: draw_targets(1)})
    before = loss.prototype_centre.value.clone()
    none = draw_targets(1, nobody)
    found, by_view, by_weight = whole_loss(loss, views, {SELF: draw_targets(2), INTRA: none, INTER: none})
    assert (found["intra"], found["inter"]) == (0, 0)
    assert by_view.isfinite().all()
    assert by_weight.isfinite().all()
    assert torch.equal(loss.prototype_centre.value, before)


@pytest.mark.parametrize("views", ["all", "released"])
def test_without_any_neighbour_the_inter_term_is_zero(views: str) -> None:
    """One slide with prototypes has no neighbour: T = 0."""
    nobody = Targets(torch.zeros(0, B, D), torch.zeros((0, B), dtype=torch.bool), torch.zeros(0))
    loss, targets = make_loss(views, outputs=D), {SELF: draw_targets(2), INTRA: draw_targets(1), INTER: nobody}
    found, by_view, _ = whole_loss(loss, noise(V, B, D, seed=9), targets)
    assert found["inter"] == 0
    assert by_view.isfinite().all()
    assert loss.prototype_centre.value.isfinite().all()


@pytest.mark.parametrize("form", [cross_entropy, streamed])
def test_half_precision_gives_float32_losses_near_those_of_float32(form: CrossEntropyOf) -> None:
    """A GPU multiplies in bfloat16; centres, losses and gradients stay float32."""
    half, full = make_loss(form=form), make_loss()
    targets = {SELF: draw_targets(2, seed=1), INTRA: draw_targets(1, seed=2), INTER: draw_targets(1, seed=3)}
    for _ in range(2):
        views = unit(noise(V, B, D, seed=9))
        results = [
            whole_loss(loss, views, targets, STUDENT_WEIGHT, TEACHER_WEIGHT, dtype)
            for loss, dtype in ((half, torch.bfloat16), (full, torch.float32))
        ]
        (ours, by_view, by_weight), (theirs, view_exact, weight_exact) = results
        assert {tensor.dtype for tensor in (*ours.values(), by_view, by_weight)} == {torch.float32}
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)
        torch.testing.assert_close(by_view, view_exact, rtol=0.1, atol=0.1 * float(view_exact.abs().max()))
        torch.testing.assert_close(by_weight, weight_exact, rtol=0.1, atol=0.1 * float(weight_exact.abs().max()))
    torch.testing.assert_close(half.self_centre.value, full.self_centre.value, rtol=0, atol=0.01)


def test_terms_that_are_not_asked_for_are_zero() -> None:
    found, *_ = whole_loss(make_loss(outputs=D), noise(V, B, D, seed=9), {SELF: draw_targets(2)})
    assert (found["intra"], found["inter"]) == (0, 0)
    assert found["loss"] == found["self_distillation"] > 0


def test_teacher_entropy_of_one_hot_and_of_even_targets() -> None:
    for vectors, entropy in ((torch.eye(D)[:B] * 100, 0.0), (torch.zeros(B, D), torch.tensor(float(D)).log())):
        teacher = draw_targets(2)._replace(vectors=vectors.expand(2, B, D))
        found, *_ = whole_loss(make_loss(outputs=D), noise(V, B, D, seed=9), {SELF: teacher})
        assert found["teacher_entropy"].item() == pytest.approx(float(entropy), abs=1e-6)


def test_feature_spread_of_equal_and_of_opposite_vectors() -> None:
    along = torch.eye(D)[0].expand(2, B, D)
    for vectors, spread in ((along, 0.0), (along * torch.tensor([1.0, -1, 1, -1])[:, None], 1.0)):
        assert feature_spread(draw_targets(2)._replace(vectors=vectors)).item() == pytest.approx(spread, abs=1e-6)
