"""One training step: what it moves, what it leaves alone."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from small_training import ENCODER, FLOAT32, GRID, OBJECTIVE, TOKEN_WIDTH, TRAINING

from slpd.method.schedules import StepRates
from slpd.settings.training import INTER, INTRA, SELF, TERMS, Features, Training
from slpd.training.batches import Batches, PrototypeTargets
from slpd.training.learner import Learner, ViewBatch
from slpd.training.precision import Precision
from slpd.training.token_store import ResidentTokens

pytestmark = pytest.mark.torch

R = 16


def make_batches(training: Training = TRAINING) -> Batches:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(R, GRID, GRID, TOKEN_WIDTH, generator=generator)
    vectors = torch.nn.functional.normalize(torch.randn(4, ENCODER.bottleneck, generator=generator), dim=-1)
    own, other = np.arange(R)[None] % 4, (np.arange(R)[None] + 1) % 4
    batches = Batches(ResidentTokens(tokens, np.arange(R)), R, ENCODER, training, GRID)
    rows = {INTRA: np.where(own == 3, -1, own), INTER: other}
    batches.prototypes = PrototypeTargets(dict.fromkeys(rows, vectors), rows, "bottleneck")
    return batches


def batches_on(device: torch.device) -> Batches:
    """The batches of `make_batches` on a device."""
    batches = make_batches()
    assert isinstance(batches.tokens, ResidentTokens)
    assert batches.prototypes is not None
    batches.tokens = ResidentTokens(batches.tokens.tokens.to(device), np.arange(R))
    vectors = {term: tensor.to(device) for term, tensor in batches.prototypes.vectors.items()}
    batches.prototypes = dataclasses.replace(batches.prototypes, vectors=vectors)
    return batches


def batch_at(batches: Batches, epoch: int, step: int) -> ViewBatch:
    return next(batches.batches_from(epoch, step))


def make_learner(
    training: Training = TRAINING, regions_at_once: int = TRAINING.batch_size, precision: Precision = FLOAT32
) -> Learner:
    return Learner(ENCODER, training, OBJECTIVE, TOKEN_WIDTH, precision, regions_at_once)


def well_scaled(learner: Learner) -> Learner:
    """With a head as a trained one: fresh ones this narrow give vectors near 0, whose direction is ill-conditioned."""
    with torch.no_grad():
        for network in (learner.student, learner.teacher):
            for name, p in network.head.mlp.named_parameters():
                p.mul_(12) if name.endswith("weight") else p
    return learner


def copied(learner: Learner, part: str) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in getattr(learner, part).state_dict().items()}


def test_every_loss_falls_while_targets_stand_still() -> None:
    still = TRAINING.model_copy(update={"centre_momentum": 1.0})
    learner, batch = make_learner(still), batch_at(make_batches(still), 0, 0)
    rates = StepRates(learning_rate=2e-3, weight_decay=0.0, teacher_momentum=1.0)
    values = torch.stack([learner.step(batch, rates, freeze_last_layer=False) for _ in range(80)])
    first, last = values[:5].mean(dim=0), values[-5:].mean(dim=0)
    assert (last[:4] < first[:4] - 0.02).all()  # total, self, intra, inter


def test_the_teacher_follows_the_student_and_gets_no_gradient() -> None:
    learner = make_learner()
    before = copied(learner, "teacher")
    learner.step(batch_at(make_batches(), 0, 0), StepRates(0.01, 0.1, 0.75), freeze_last_layer=False)
    student = learner.student.state_dict()
    for name, tensor in learner.teacher.named_parameters():
        torch.testing.assert_close(tensor, 0.75 * before[name] + 0.25 * student[name])
        assert tensor.grad is None


def test_a_frozen_last_layer_does_not_move() -> None:
    learner = make_learner()
    before = copied(learner, "student")
    learner.step(batch_at(make_batches(), 0, 0), StepRates(0.01, 0.4, 0.9), freeze_last_layer=True)
    unmoved = {name for name, tensor in learner.student.state_dict().items() if torch.equal(tensor, before[name])}
    assert unmoved == {"head.last_layer.weight_v"}


def test_a_restored_learner_continues_as_if_uninterrupted() -> None:
    """Both centres and the optimiser are part of the state."""
    batches, rates = make_batches(), StepRates(0.01, 0.1, 0.9)
    learner, restored = make_learner(), make_learner()
    learner.step(batch_at(batches, 0, 0), rates, freeze_last_layer=False)
    restored.load_state_dict(copy.deepcopy(learner.state_dict()))  # as a file does
    assert restored.loss.self_centre.value.any()
    assert restored.loss.prototype_centre.value.any()
    values = [each.step(batch_at(batches, 0, 1), rates, freeze_last_layer=False) for each in (learner, restored)]
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
    batch_at(second, 3, 0)
    once, again = batch_at(first, 1, 1), batch_at(second, 1, 1)
    for views, same in ((once.global_views, again.global_views), (once.local_views, again.local_views)):
        assert torch.equal(views.tokens, same.tokens)
        assert torch.equal(views.keep, same.keep)
    assert not torch.equal(once.global_views.tokens, batch_at(first, 1, 0).global_views.tokens)


def test_a_region_gets_its_own_prototype_as_intra_target() -> None:
    batches = make_batches()
    targets = batch_at(batches, 0, 0).prototypes[INTRA]
    regions, prototypes = batches.regions_of(0, 0), batches.prototypes
    assert prototypes is not None
    kept = regions % 4 != 3
    assert targets.valid[0].tolist() == kept.tolist()
    assert targets.counts.tolist() == [kept.sum()]
    assert torch.equal(targets.vectors[0, kept], prototypes.vectors[INTRA][regions[kept] % 4])


@pytest.mark.parametrize("features", ["bottleneck", "region_vector"])
def test_a_prototype_of_one_region_alone_has_the_targets_of_that_region(features: Features) -> None:
    """Whatever is clustered, a prototype goes through all that comes after it in the teacher."""
    learner, batches = make_learner(), make_batches()
    views = batch_at(batches, 0, 0).global_views.tokens[0]  # view 0 of the batch
    with torch.no_grad():
        embedded = learner.teacher.embed(views).split([ENCODER.width, ENCODER.bottleneck], dim=1)
        expected = learner.teacher(views)
    vectors = embedded[0] if features == "region_vector" else embedded[1]
    place = np.full(R, -1)
    place[batches.regions_of(0, 0)] = np.arange(TRAINING.batch_size)
    batches.prototypes = PrototypeTargets(
        {INTRA: vectors, INTER: vectors}, dict.fromkeys(TERMS[1:], place[None]), features
    )
    targets = learner.targets(batch_at(batches, 0, 0))
    for term in TERMS:
        torch.testing.assert_close(targets[term].vectors[0], expected)


@pytest.mark.parametrize("regions_at_once", [1, 3, 8])
def test_the_gradient_is_that_of_the_loss_written_in_one_piece(regions_at_once: int) -> None:
    """Through whole logits and torch's own softmax, however few regions go through the student together."""
    still = TRAINING.model_copy(update={"centre_momentum": 1.0})  # centres stay 0
    learner = well_scaled(make_learner(still, regions_at_once))
    batch = batch_at(make_batches(), 0, 0)
    with torch.no_grad():
        terms = learner.targets(batch)
        logits = {term: learner.teacher.head.last_layer(targets.vectors) for term, targets in terms.items()}
    student = (
        learner.student.head.last_layer(learner.student_vectors([batch.global_views, batch.local_views]))
        / TRAINING.student_temperature
    )
    log_p = student.log_softmax(dim=-1)  # (V, B, K)
    loss = torch.zeros(())
    for (term, targets), weight in zip(terms.items(), (1, OBJECTIVE.intra, OBJECTIVE.inter), strict=True):
        p = (logits[term] / TRAINING.teacher_temperature).softmax(dim=-1) * targets.valid[..., None]
        cross = -torch.einsum("tbk,vbk->tv", p, log_p) / targets.counts[:, None]
        counted = [cross[t, v] for t in range(len(p)) for v in range(len(log_p)) if term is not SELF or t != v]
        loss = loss + weight * torch.stack(counted).mean()
    expected = torch.autograd.grad(loss, list(learner.student.parameters()))
    learner.gradients.begin()
    torch.testing.assert_close(learner.find_gradients(batch)["loss"], loss.detach())
    whole = torch.cat([gradient.flatten() for gradient in expected])
    for (name, p), gradient in zip(learner.student.named_parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, gradient, rtol=1e-4, atol=1e-6, msg=name)

    norm = learner.finish_gradients(freeze_last_layer=False)
    torch.testing.assert_close(norm, whole.norm(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("regions_at_once", [1, 3, 8])
def test_the_last_layers_gradient_is_ready_before_the_others_are(
    monkeypatch: pytest.MonkeyPatch, regions_at_once: int
) -> None:
    """Several processes begin to sum it then, so nothing may be added to it afterwards."""
    learner = well_scaled(make_learner(regions_at_once=regions_at_once))
    then = []
    monkeypatch.setattr(
        learner.gradients,
        "last_layer_is_ready",
        lambda: then.append([view.clone() for view in learner.gradients.views]),
    )
    learner.gradients.begin()
    learner.find_gradients(batch_at(make_batches(), 0, 0))
    (early,), weight = then, learner.student.head.last_layer.weight_v
    for (name, p), before in zip(learner.student.named_parameters(), early, strict=True):
        assert torch.equal(before, p.grad) == (p is weight), name


def test_every_step_and_epoch_draws_other_crops() -> None:
    """Of regions that are all alike."""
    batches = make_batches()
    assert isinstance(batches.tokens, ResidentTokens)
    alike = batches.tokens.tokens[:1].expand(R, -1, -1, -1).contiguous()
    batches.tokens = ResidentTokens(alike, np.arange(R))
    drawn = [batch_at(batches, epoch, step).global_views.tokens for epoch in (0, 1) for step in (0, 1)]
    assert not any(torch.equal(a, b) for i, a in enumerate(drawn) for b in drawn[:i])


def scaled_by(scale: float) -> Precision:
    """Float16 whose scale is what steps that overflow, or do not, have made of it."""
    precision = Precision(torch.device("cpu"), torch.float16)
    precision.load_state_dict(precision.state_dict() | {"scale": scale})
    return precision


def test_a_restored_scale_goes_on_and_softmax_is_never_in_float16() -> None:
    precision = scaled_by(8.0)
    precision.load_state_dict(precision.state_dict() | {"_growth_tracker": 5})
    restored = Precision(torch.device("cpu"), torch.float16)
    restored.load_state_dict(precision.state_dict())
    assert restored.state_dict() == precision.state_dict()
    restored.load_state_dict(FLOAT32.state_dict())  # of training in another precision
    assert restored.state_dict()["scale"] == 8
    assert restored.of_products == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_step_in_half_precision_is_near_one_in_float32(dtype: torch.dtype) -> None:
    """What a GPU does under autocast, on the CPU; float16 with a scaled loss."""
    batch, rates = batch_at(make_batches(), 0, 0), StepRates(0.01, 0.1, 0.9)
    full = well_scaled(make_learner()).step(batch, rates, freeze_last_layer=False)
    precision = scaled_by(2.0**4) if dtype == torch.float16 else Precision(torch.device("cpu"), dtype)
    learner = well_scaled(make_learner(precision=precision))
    half = learner.step(batch, rates, freeze_last_layer=False)
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.05)
    assert all(tensor.dtype == torch.float32 for tensor in learner.student.state_dict().values())


def test_a_scaled_step_that_overflows_is_left_out_and_halves_the_scale() -> None:
    learner = make_learner(precision=scaled_by(2.0**40))
    before = copied(learner, "student")
    values = learner.step(batch_at(make_batches(), 0, 0), StepRates(0.01, 0.1, 0.9), freeze_last_layer=False)
    assert values[:-1].isfinite().all()
    assert not values[-1].isfinite()
    assert learner.precision.state_dict()["scale"] == 2.0**39
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.student.state_dict().items())
    assert all(state["step"] == 0 for state in learner.optimiser.state.values())


@pytest.mark.gpu
def test_a_step_on_a_gpu_is_near_one_on_the_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    values = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        batches = batches_on(device)
        learner = make_learner(precision=Precision.of(device))
        values.append(learner.step(batch_at(batches, 0, 0), StepRates(0.01, 0.1, 0.9), False).cpu())
    torch.testing.assert_close(values[1], values[0], rtol=0.05, atol=0.05)


def test_stochastic_depth_drops_branches_of_local_and_global_views_independently() -> None:
    training = TRAINING.model_copy(update={"batch_size": R})
    batch = batch_at(make_batches(training), 0, 0)
    for keep in (batch.global_views.keep, batch.local_views.keep):
        assert keep is not None
        assert (keep[-1] == 0).any()
        assert not torch.equal(keep[-1, 0], keep[-1, 1])  # attention and perceptron
    blocked = batch.local_views._replace(keep=torch.zeros_like(batch.local_views.keep))
    student = make_learner(training).student_vectors([batch.global_views, blocked])  # (V, B, D)
    torch.testing.assert_close(student[2:], student[2, 0].expand_as(student[2:]))  # their CLS token passes unchanged
    assert not torch.allclose(student[0, 0], student[0, 1])


def test_no_local_views() -> None:
    training = TRAINING.model_copy(update={"n_local_views": 0})
    values = make_learner(training).step(batch_at(make_batches(training), 0, 0), StepRates(0.01, 0.1, 0.9), False)
    assert values.isfinite().all()
