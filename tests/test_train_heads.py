"""Training: folds come out as if alone, the right epoch is kept, planted signals are learnt."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_cases import abmil, data_of, max_mil, preset, survival_data, vit_wsi
from torch import nn

from benchmarks.mil_sets import accuracies, mil_set
from slpd.errors import EvaluationError
from slpd.evaluation import train_heads
from slpd.evaluation.cases import EvaluationData
from slpd.evaluation.fold_adam import FoldAdam
from slpd.evaluation.head_output import HeadOutput
from slpd.evaluation.metrics import point_metrics
from slpd.evaluation.packed_bags import PackedBags
from slpd.evaluation.train_heads import FoldGroup, one_thread_each, predict_trained
from slpd.settings.heads import AnyTrainedHead, HeadPreset

pytestmark = pytest.mark.torch

MIL = Path(__file__).parents[2] / "shared" / "data" / "mil"
HEADS = {"abmil": abmil(), "plain": abmil(gated=False), "max_mil": max_mil(), "vit_wsi": vit_wsi()}


@one_thread_each()
def outputs(head: AnyTrainedHead, recipe: HeadPreset, data: EvaluationData, *numbers: int) -> list[HeadOutput]:
    """What some folds say when they are trained together."""
    return FoldGroup(head, recipe, data, {number: data.folds[number] for number in numbers}).fit().test()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("recipe", [preset(epochs=3), preset(epochs=6, patience=1, batch_size=3, optimiser="adam")])
def test_a_fold_comes_out_as_if_it_were_trained_alone(head: str, recipe: HeadPreset) -> None:
    """Folds of other sizes, so that they run out of bags and stop early at other times."""
    data = data_of([(13, 6, 7), (20, 5, 4), (8, 9, 11)])
    together = outputs(HEADS[head], recipe, data, 0, 1, 2)
    for number in range(3):
        (alone,) = outputs(HEADS[head], recipe, data, number)
        np.testing.assert_allclose(together[number].outputs, alone.outputs, atol=2e-4)
        for one, other in zip(together[number].weights, alone.weights, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-4)


def test_groups_of_folds_are_put_together_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of([(9, 3, 3), (9, 3, 4), (9, 3, 5), (9, 3, 6), (9, 3, 7)])
    recipe = preset(epochs=2)
    whole = predict_trained(abmil(), recipe, data)
    monkeypatch.setattr(train_heads, "MOST_ROWS", 1)  # every fold for itself
    single = predict_trained(abmil(), recipe, data)
    assert [len(found.outputs) for found in whole] == [3, 4, 5, 6, 7]
    for one, other in zip(whole, single, strict=True):
        np.testing.assert_allclose(one.outputs, other.outputs, atol=2e-4)


def test_predictions_depend_on_seed_and_fold_alone() -> None:
    data, short = data_of([(12, 4, 6), (12, 4, 6)]), preset(epochs=2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = predict_trained(abmil(), short, data)
    assert (torch.get_rng_state() == before).all()  # the caller's random numbers stay as they were
    assert torch.get_num_threads() > 0
    again = predict_trained(abmil(), short, data)
    assert all((one.outputs == other.outputs).all() for one, other in zip(first, again, strict=True))
    other_seed = predict_trained(abmil(), preset(epochs=2, seed=1), data)
    assert (first[0].outputs != other_seed[0].outputs).any()
    same_slides = replace(data, folds=[data.folds[0], data.folds[0]])
    one, other = predict_trained(abmil(), short, same_slides)
    assert (one.outputs != other.outputs).any()  # as another fold, they are trained with other random numbers


@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
def test_a_fold_that_sits_a_step_out_keeps_its_weights_and_state(optimiser: str) -> None:
    recipe = preset(optimiser=optimiser, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 4, 2, generator=generator)
    gradients = torch.randn(5, 3, 4, 2, generator=generator)
    model = nn.Module()
    model.weight = nn.Parameter(start.clone())
    stacked = FoldAdam(model, recipe)
    steps = [[0, 1, 2], [0, 2], [1], [0, 1, 2], [2]]
    for folds, gradient in zip(steps, gradients, strict=True):
        model.weight.grad = gradient.clone()
        stacked.step(folds)
    torch_class = torch.optim.Adam if optimiser == "adam" else torch.optim.AdamW
    for fold in range(3):
        alone = nn.Parameter(start[fold].clone())
        theirs = torch_class([alone], lr=recipe.learning_rate, weight_decay=0.1)
        for folds, gradient in zip(steps, gradients, strict=True):
            if fold in folds:
                alone.grad = gradient[fold].clone()
                theirs.step()
        torch.testing.assert_close(model.weight[fold], alone)


@one_thread_each()
def test_the_epoch_with_the_best_validation_loss_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    data = data_of([(12, 10, 4)], shift=0.5)
    losses = []
    for epochs in range(1, 9):  # the same stream of random numbers, stopped after each epoch
        group = FoldGroup(abmil(), preset(epochs=epochs, learning_rate=0.02), data, {0: data.folds[0]}).fit()
        losses.append(group.validation_losses([0])[0])
    best = int(np.argmin(losses))
    assert best < 6  # it does overfit here
    with caplog.at_level(logging.INFO):
        patient = preset(epochs=8, learning_rate=0.02, patience=8)
        group = FoldGroup(abmil(), patient, data, {0: data.folds[0]}).fit()
    assert f"fold 0: kept epoch {best + 1} of 8" in caplog.text
    assert group.validation_losses([0])[0] == pytest.approx(min(losses), abs=1e-6)
    caplog.clear()
    with caplog.at_level(logging.INFO):  # with little patience, the first epoch that the next one does not beat
        FoldGroup(abmil(), preset(epochs=8, learning_rate=0.02, patience=1), data, {0: data.folds[0]}).fit()
    first = next(epoch for epoch in range(7) if losses[epoch + 1] >= losses[epoch])
    assert f"fold 0: kept epoch {first + 1} of 8" in caplog.text


def test_without_validation_slides_the_last_epoch_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    data = data_of([(12, 0, 4)])
    with caplog.at_level(logging.INFO):
        impatient = predict_trained(abmil(), preset(epochs=3, patience=1), data)
    assert "fold 0: kept epoch 3 of 3" in caplog.text
    assert (impatient[0].outputs == predict_trained(abmil(), preset(epochs=3), data)[0].outputs).all()


@one_thread_each()
def test_every_class_weighs_the_same_in_validation() -> None:
    data = data_of([(4, 9, 2)])
    group = FoldGroup(abmil(), preset(), data, {0: data.folds[0]})
    val = data.folds[0].val  # 5 of class 0, 4 of class 1
    ((_, _, logits, _),) = group.passes(group.val, [0])
    losses = -logits[0].detach().log_softmax(dim=1)[range(9), torch.from_numpy(val.outcomes.numbers)].numpy()
    means = [losses[val.outcomes.numbers == number].mean() for number in range(2)]
    assert group.validation_losses([0])[0] == pytest.approx(np.mean(means), abs=1e-6)


def test_balanced_draws_take_every_class_equally_often() -> None:
    data = data_of([(40, 0, 2)])
    train = data.folds[0].train
    train.outcomes.numbers[:] = [0] * 36 + [1] * 4
    group = FoldGroup(abmil(), preset(), data, {0: data.folds[0]})
    drawn = np.concatenate([train.outcomes.numbers[group.draw(0).numpy()] for _ in range(100)])
    assert drawn.mean() == pytest.approx(0.5, abs=0.03)
    plain = FoldGroup(abmil(), preset(balanced=False), data, {0: data.folds[0]})
    assert sorted(plain.draw(0).tolist()) == list(range(40))


def test_vectors_are_standardised_by_the_training_regions() -> None:
    data = data_of([(6, 4, 5)])
    regions = data.features[np.concatenate(data.folds[0].train.rows)]
    mean, scale = train_heads.region_moments(data.features, data.folds[0].train, standardise=True)
    np.testing.assert_allclose(((regions - mean.numpy()) * scale.numpy()).mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(((regions - mean.numpy()) * scale.numpy()).std(axis=0), 1, atol=1e-5)
    data.features[:, 1] = 7  # a constant dimension is left in scale
    mean, scale = train_heads.region_moments(data.features, data.folds[0].train, standardise=True)
    assert (float(mean[1]), float(scale[1])) == (7, 1)


@one_thread_each()
@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
def test_training_is_that_of_a_plain_loop(optimiser: str) -> None:
    """Steps of three bags, the last of one: the mean loss of a step's bags, over standardised vectors."""
    data = data_of([(7, 0, 4)])
    data.features[:] = 5 + 3 * data.features
    recipe = preset(optimiser=optimiser, epochs=4, batch_size=3, standardise=True, weight_decay=0.01)
    fold = data.folds[0]
    group = FoldGroup(abmil(dropout=0.0), recipe, data, {0: fold})
    twin = FoldGroup(abmil(dropout=0.0), recipe, data, {0: fold})  # draws the same weights and the same cases
    training = data.features[np.concatenate(fold.train.rows)]
    vectors = torch.from_numpy((data.features - training.mean(0)) / training.std(0)).float()

    def logits(rows: np.ndarray) -> torch.Tensor:
        bag = vectors[torch.from_numpy(rows)]
        return twin.model(PackedBags(bag[None], torch.tensor([[len(bag)]]), None))[0][0]

    torch_class = torch.optim.Adam if optimiser == "adam" else torch.optim.AdamW
    theirs = torch_class(twin.model.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    for _ in range(4):
        for places in torch.split(twin.draw(0), 3):
            numbers = torch.from_numpy(fold.train.outcomes.numbers)[places]
            scores = torch.cat([logits(fold.train.rows[place]) for place in places])
            theirs.zero_grad()
            nn.functional.cross_entropy(scores, numbers).backward()
            theirs.step()
    (found,) = group.fit().test()
    expected = torch.cat([logits(rows) for rows in fold.test.rows]).softmax(dim=1).detach()
    np.testing.assert_allclose(found.outputs, expected, atol=1e-4)


def test_a_later_epoch_must_be_better_and_patience_is_counted_from_the_best() -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(1, 2))
    kept = train_heads.KeptEpochs(model, 1, preset(epochs=9, patience=2))
    for epoch, loss in enumerate([0.5, 0.4, 0.4]):
        assert kept.unfinished(epoch) == [0]
        kept.report(0, epoch, loss)
    assert kept.epochs == [1]  # an equal loss later is not better
    assert kept.unfinished(3) == [0]  # the second epoch behind the best one
    kept.report(0, 3, 0.6)
    assert kept.unfinished(4) == []


def test_training_that_diverges_names_head_and_fold() -> None:
    with pytest.raises(EvaluationError, match=r"head abmil, fold 0: training diverged.*learning_rate.*1e\+30"):
        predict_trained(abmil(), preset(epochs=2, learning_rate=1e30), data_of([(9, 0, 4)]))


def test_only_the_l2_term_feels_the_loss_divisor() -> None:
    """HIPT divides its loss by 32: with Adam that changes nothing but the weight decay beside it."""
    data = data_of([(12, 0, 6)])

    def found(**changes: object) -> np.ndarray:
        recipe = preset(optimiser="adam", epochs=2, **changes)
        return predict_trained(abmil(dropout=0.0), recipe, data)[0].outputs

    plain, divided = found(weight_decay=0), found(weight_decay=0, loss_divisor=32)
    np.testing.assert_allclose(plain, divided, atol=1e-3)
    np.testing.assert_allclose(found(weight_decay=0.32), found(weight_decay=0.01, loss_divisor=32), atol=1e-3)
    assert np.abs(found(weight_decay=0.32) - plain).max() > 0.01


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_learns_which_region_makes_the_class(head: str, n_classes: int) -> None:
    data = data_of([(90, 20, 30)], n_classes)
    (found,) = predict_trained(HEADS[head], preset(epochs=25), data)
    assert found.outputs.shape == (30, n_classes)
    np.testing.assert_allclose(found.outputs.sum(axis=1), 1)
    assert (found.outputs.argmax(axis=1) == data.folds[0].test.outcomes.numbers).mean() > 0.85
    assert [len(weights) for weights in found.weights] == [len(rows) for rows in data.folds[0].test.rows]
    assert all(weights.sum() == pytest.approx(1, abs=1e-5) for weights in found.weights)


@pytest.mark.parametrize("head", HEADS)
def test_it_learns_who_dies_first(head: str) -> None:
    data = survival_data()
    (found,) = predict_trained(HEADS[head], preset(epochs=15, patience=5), data)
    assert ((found.outputs >= 0) & (found.outputs <= 1)).all()
    assert point_metrics("survival", data.folds[0].test.outcomes, found.outputs)["c_index"] > 0.75


@pytest.mark.skipif(not MIL.is_dir(), reason="the multiple-instance sets are not here")
def test_musk1_is_learnt() -> None:
    """Three folds, one seed; ten folds and five seeds are benchmarks/evaluation.py's."""
    data = mil_set(MIL / "musk1.csv", n_folds=3, validation_fraction=0, seed=0)
    recipe = preset(learning_rate=5e-4, weight_decay=1e-2, epochs=40, batch_size=8)
    found = predict_trained(abmil(embedding=128, attention=64), recipe, data)
    assert np.mean(accuracies(data, [fold.outputs for fold in found])) > 0.75
