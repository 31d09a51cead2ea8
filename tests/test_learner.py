"""One training step: what it moves, what it leaves alone."""

import dataclasses

import numpy as np
import pytest
import torch
from small_training import ENCODER, GRID, OBJECTIVE, TOKEN_WIDTH, TRAINING

from slpd.method.schedules import StepRates
from slpd.settings.training import Features, Training
from slpd.training.batches import Batches, PrototypeTargets
from slpd.training.learner import Batch, Learner

pytestmark = pytest.mark.torch

R = 16


def make_batches(training: Training = TRAINING) -> Batches:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(R, GRID, GRID, TOKEN_WIDTH, generator=generator)
    vectors = torch.nn.functional.normalize(torch.randn(4, ENCODER.bottleneck, generator=generator), dim=-1)
    own, other = np.arange(R)[None] % 4, (np.arange(R)[None] + 1) % 4
    return Batches(
        tokens, ENCODER, training, PrototypeTargets(vectors, "bottleneck", np.where(own == 3, -1, own), other)
    )


def make_learner(training: Training = TRAINING) -> Learner:
    return Learner(ENCODER, training, OBJECTIVE, TOKEN_WIDTH, torch.device("cpu"))


def copied(learner: Learner, part: str) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in getattr(learner, part).state_dict().items()}


def test_every_loss_falls_while_targets_stand_still() -> None:
    still = TRAINING.model_copy(update={"centre_momentum": 1.0})
    learner, batch = make_learner(still), make_batches(still).batch(0, 0)
    rates = StepRates(learning_rate=2e-3, weight_decay=0.0, teacher_momentum=1.0)
    values = torch.stack([learner.step(batch, rates, freeze_last_layer=False) for _ in range(80)])
    first, last = values[:5].mean(dim=0), values[-5:].mean(dim=0)
    assert (last[:4] < first[:4] - 0.02).all()  # total, self, intra, inter


def test_the_teacher_follows_the_student_and_gets_no_gradient() -> None:
    learner = make_learner()
    before = copied(learner, "teacher")
    learner.step(make_batches().batch(0, 0), StepRates(0.01, 0.1, 0.75), freeze_last_layer=False)
    student = learner.student.state_dict()
    for name, tensor in learner.teacher.named_parameters():
        torch.testing.assert_close(tensor, 0.75 * before[name] + 0.25 * student[name])
        assert tensor.grad is None


def test_a_frozen_last_layer_does_not_move() -> None:
    learner = make_learner()
    before = copied(learner, "student")
    learner.step(make_batches().batch(0, 0), StepRates(0.01, 0.4, 0.9), freeze_last_layer=True)
    unmoved = {name for name, tensor in learner.student.state_dict().items() if torch.equal(tensor, before[name])}
    assert unmoved == {"head.last_layer.weight_v"}


def test_a_restored_learner_goes_on_as_if_nothing_had_happened() -> None:
    """Both centres and the optimiser are part of the state."""
    batches, rates = make_batches(), StepRates(0.01, 0.1, 0.9)
    learner, restored = make_learner(), make_learner()
    learner.step(batches.batch(0, 0), rates, freeze_last_layer=False)
    restored.load_state_dict(learner.state_dict())
    assert restored.loss.self_centre.value.any()
    assert restored.loss.prototype_centre.value.any()
    values = [each.step(batches.batch(0, 1), rates, freeze_last_layer=False) for each in (learner, restored)]
    assert torch.equal(*values)
    assert all(
        torch.equal(a, b)
        for a, b in zip(copied(learner, "student").values(), copied(restored, "student").values(), strict=True)
    )


def test_every_epoch_visits_each_region_once_in_another_order() -> None:
    batches = make_batches()
    orders = [
        np.concatenate([batches.regions_of(epoch, step) for step in range(batches.per_epoch)]) for epoch in (0, 1)
    ]
    assert all(sorted(order) == list(range(R)) for order in orders)
    assert orders[0].tolist() != orders[1].tolist()


def test_a_batch_depends_on_nothing_but_seed_epoch_and_step() -> None:
    first, second = make_batches(), make_batches()
    second.batch(3, 0)
    for field in ("global_views", "local_views", "global_keep", "local_keep"):
        assert torch.equal(getattr(first.batch(1, 1), field), getattr(second.batch(1, 1), field)), field
    assert not torch.equal(first.batch(1, 1).global_views, first.batch(1, 0).global_views)


def test_a_region_gets_its_own_prototype_as_intra_target() -> None:
    batches = make_batches()
    batch: Batch = batches.batch(0, 0)
    regions, prototypes = batches.regions_of(0, 0), batches.prototypes
    assert batch.intra is not None
    assert prototypes is not None
    kept = regions % 4 != 3
    assert batch.intra.valid[0].tolist() == kept.tolist()
    assert batch.intra.counts.tolist() == [kept.sum()]
    assert torch.equal(batch.intra.logits[0, kept], prototypes.vectors[regions[kept] % 4])


@pytest.mark.parametrize("features", ["bottleneck", "region_vector"])
def test_a_prototype_of_one_region_alone_has_the_targets_of_that_region(features: Features) -> None:
    """Whatever is clustered, a prototype goes through all that comes after it in the teacher."""
    learner, plain = make_learner(), make_batches()
    views = plain.batch(0, 0).global_views[: TRAINING.batch_size]  # view 0 of the batch
    with torch.no_grad():
        embedded = learner.teacher.embed(views).split([ENCODER.width, ENCODER.bottleneck], dim=1)
        expected = learner.teacher(views)
    vectors = embedded[0] if features == "region_vector" else embedded[1]
    place = np.full(R, -1)
    place[plain.regions_of(0, 0)] = np.arange(TRAINING.batch_size)
    batches = Batches(plain.tokens, ENCODER, TRAINING, PrototypeTargets(vectors, features, place[None], place[None]))
    _, teacher, intra, inter = learner.forward(batches.batch(0, 0))
    assert intra is not None
    assert inter is not None
    for targets in (intra, inter):
        torch.testing.assert_close(targets.logits[0], expected)
    torch.testing.assert_close(teacher.logits[0], expected)


def test_a_step_works_on_logits_of_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU does under autocast, on the CPU."""
    learner, batch, rates = make_learner(), make_batches().batch(0, 0), StepRates(0.01, 0.1, 0.9)
    full = make_learner().step(batch, rates, freeze_last_layer=False)
    forward = learner.forward

    def in_half(batch: Batch) -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return forward(batch)

    monkeypatch.setattr(learner, "forward", in_half)
    half = learner.step(batch, rates, freeze_last_layer=False)
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.05)
    assert all(tensor.dtype == torch.float32 for tensor in learner.student.state_dict().values())


@pytest.mark.gpu
def test_a_step_on_a_gpu_is_near_one_on_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    values = []
    for device in ("cpu", "cuda"):
        plain = make_batches()
        assert plain.prototypes is not None
        vectors = plain.prototypes.vectors.to(device)
        targets = PrototypeTargets(vectors, "bottleneck", plain.prototypes.intra, plain.prototypes.inter)
        batches = Batches(plain.tokens.to(device), ENCODER, TRAINING, targets)
        learner = Learner(ENCODER, TRAINING, OBJECTIVE, TOKEN_WIDTH, torch.device(device))
        values.append(learner.step(batches.batch(0, 0), StepRates(0.01, 0.1, 0.9), False).cpu())
    torch.testing.assert_close(values[1], values[0], rtol=0.05, atol=0.05)


def test_stochastic_depth_drops_branches_of_local_and_global_views_independently() -> None:
    training = TRAINING.model_copy(update={"batch_size": R})
    batch = make_batches(training).batch(0, 0)
    for keep in (batch.global_keep, batch.local_keep):
        assert keep is not None
        assert (keep[-1] == 0).any()
        assert not torch.equal(keep[-1, 0], keep[-1, 1])  # attention and perceptron
    blocked = dataclasses.replace(batch, local_keep=torch.zeros_like(batch.local_keep))
    student = make_learner(training).forward(blocked)[0]  # (V, B, K)
    torch.testing.assert_close(student[2:], student[2, 0].expand_as(student[2:]))  # their CLS token passes unchanged
    assert not torch.allclose(student[0, 0], student[0, 1])


def test_no_local_views() -> None:
    training = TRAINING.model_copy(update={"n_local_views": 0})
    values = make_learner(training).step(make_batches(training).batch(0, 0), StepRates(0.01, 0.1, 0.9), False)
    assert values.isfinite().all()
