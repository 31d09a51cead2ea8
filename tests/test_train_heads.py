"""Training: folds come out as if alone, the right epoch is kept, planted signals are learnt."""

import logging
import math
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import pytest
import torch
from small_cases import abmil, data_of, max_mil, preset, simlp, survival_data, vit_wsi
from torch import nn

from benchmarks.mil_sets import mil_set, scores
from slpd.errors import EvaluationError
from slpd.evaluation import head_network, train_heads
from slpd.evaluation.cases import EvaluationData
from slpd.evaluation.fold_training import FoldTraining, region_moments
from slpd.evaluation.head_output import HeadOutput
from slpd.evaluation.metrics import point_metrics
from slpd.evaluation.train_heads import predict_trained, train_folds
from slpd.settings.heads import HeadPreset, TrainedHead

pytestmark = pytest.mark.torch

MIL = Path(__file__).parents[2] / "shared" / "data" / "mil"
HEADS = {
    "abmil": abmil(),
    "plain": abmil(gated=False),
    "max_mil": max_mil(),
    "simlp": simlp(),
    "vit_wsi": vit_wsi(),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As in a worker."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def outputs(head: TrainedHead, recipe: HeadPreset, data: EvaluationData) -> list[HeadOutput]:
    """What every fold says, trained in this process, one after the other."""
    return [fold.output for fold in train_folds(head, recipe, data, range(len(data.folds)))]


def assert_equal(one: HeadOutput, other: HeadOutput) -> None:
    """To the bit."""
    assert (one.outputs == other.outputs).all()
    assert all((a == b).all() for a, b in zip(one.weights, other.weights, strict=True))


def test_validation_cases_are_predicted_as_test_cases_are() -> None:
    """The same network, put to the validation cases as if they were the test."""
    data, recipe = data_of([(20, 6, 8)]), preset(epochs=2)
    (fold,) = data.folds
    (swapped,) = outputs(abmil(), recipe, replace(data, folds=[replace(fold, test=fold.val)]))
    (found,) = outputs(abmil(), recipe, data)
    assert (found.cut_outputs == swapped.outputs).all()
    (none,) = outputs(abmil(), recipe, data_of([(20, 0, 8)]))
    assert none.cut_outputs.shape == (0, 2)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("recipe", [preset(epochs=3), preset(epochs=6, patience=1, batch_size=3, optimiser="adam")])
def test_a_fold_comes_out_as_if_it_were_trained_alone(head: str, recipe: HeadPreset) -> None:
    """Whatever the process did before: what a fold draws is its own."""
    data = data_of([(13, 6, 7), (20, 5, 4), (8, 9, 11)])
    for number, one in enumerate(outputs(HEADS[head], recipe, data)):
        torch.manual_seed(number)
        (alone,) = train_folds(HEADS[head], recipe, data, [number])
        assert_equal(one, alone.output)


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_workers_do_not_change_results(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """However many share the folds out, these come in their order and to the bit as in one process of one thread."""
    data, recipe = data_of([(9, 3, 3), (9, 3, 4), (9, 3, 5), (9, 3, 6), (9, 3, 7)]), preset(epochs=2)
    monkeypatch.setattr(train_heads, "WORKERS", workers)
    found = predict_trained(abmil(), recipe, data)
    assert [len(fold.outputs) for fold in found] == [3, 4, 5, 6, 7]
    for one, other in zip(found, outputs(abmil(), recipe, data), strict=True):
        assert_equal(one, other)


def test_predictions_depend_on_seed_and_fold_alone() -> None:
    data, short = data_of([(12, 4, 6), (12, 4, 6)]), preset(epochs=2)
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first = predict_trained(abmil(), short, data)
    assert (torch.get_rng_state() == before).all()  # the caller's random numbers stay as they were
    assert torch.get_num_threads() == threads
    for one, other in zip(first, predict_trained(abmil(), short, data), strict=True):
        assert_equal(one, other)
    other_seed = outputs(abmil(), preset(epochs=2, seed=1), data)
    assert (first[0].outputs != other_seed[0].outputs).any()
    one, other = outputs(abmil(), short, replace(data, folds=[data.folds[0], data.folds[0]]))
    assert (one.outputs != other.outputs).any()  # as another fold, they are trained with other random numbers


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_a_killed_parent(number: signal.Signals) -> None:
    """In the middle of training, and nothing of theirs is left in shared memory."""
    program = (
        "import sys; sys.path.insert(0, 'tests'); from small_cases import *\n"
        "from slpd.evaluation.train_heads import predict_trained\n"
        "if __name__ == '__main__':\n"
        "    predict_trained(abmil(), preset(epochs=10**9), data_of([(9, 3, 3), (9, 3, 3)]))"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[1]) as process:
        parent = psutil.Process(process.pid)
        while (
            sum(child.num_threads() > 1 and child.cpu_times().user > 0.5 for child in parent.children(recursive=True))
            < 2
        ):
            time.sleep(0.1)
        workers = parent.children(recursive=True)
        semaphores = re.findall(r"/dev/shm/\S+", Path(f"/proc/{process.pid}/maps").read_text())
        parent.send_signal(number)
    assert semaphores
    assert psutil.wait_procs(workers)[1] == []
    assert [name for name in semaphores if Path(name).exists()] == []


def test_the_epoch_with_the_best_validation_loss_is_kept() -> None:
    data = data_of([(12, 10, 4)], shift=0.5)
    losses = []
    for epochs in range(1, 13):  # the same stream of random numbers, stopped after each epoch
        training = FoldTraining(abmil(), preset(epochs=epochs, learning_rate=0.02), data, 0)
        assert training.fit() == epochs - 1
        losses.append(training.validation_loss())
    best = int(np.argmin(losses))
    assert best < 10  # it does overfit here
    training = FoldTraining(abmil(), preset(epochs=12, learning_rate=0.02, patience=12), data, 0)
    assert training.fit() == best
    assert training.validation_loss() == min(losses)
    # with little patience, the first epoch that the next one does not beat
    first = next(epoch for epoch in range(11) if losses[epoch + 1] >= losses[epoch])
    assert FoldTraining(abmil(), preset(epochs=12, learning_rate=0.02, patience=1), data, 0).fit() == first


@pytest.mark.parametrize(
    ("losses", "kept", "trained"),
    [
        ([0.5, 0.4, 0.4, 0.6, 0.1], 1, 4),  # an equal loss is not better; the second epoch after the best is the last
        ([0.5, 0.6, 0.4, 0.6, 0.3, 0.2, 0.2], 5, 7),  # patience is counted from the best
        ([math.nan] * 7, 6, 7),  # no epoch is the best
        ([0.5, math.nan, math.nan, 0.1], 0, 3),
    ],
)
def test_patience_is_counted_from_the_best_epoch(
    monkeypatch: pytest.MonkeyPatch, losses: list[float], kept: int, trained: int
) -> None:
    training = FoldTraining(abmil(), preset(epochs=7, patience=2), data_of([(9, 3, 3)]), 0)
    validated: list[dict[str, torch.Tensor]] = []

    def loss() -> float:
        validated.append(deepcopy(training.network.state_dict()))
        return losses[len(validated) - 1]

    monkeypatch.setattr(training, "validation_loss", loss)
    assert training.fit() == kept
    assert len(validated) == trained
    for name, weight in training.network.state_dict().items():
        assert (weight == validated[kept][name]).all()


def test_without_validation_slides_the_last_epoch_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    data = data_of([(12, 0, 4)])
    with caplog.at_level(logging.INFO):
        impatient = predict_trained(abmil(), preset(epochs=3, patience=1), data)
    assert "head abmil, fold 0: kept epoch 3 of 3" in caplog.text
    assert_equal(impatient[0], outputs(abmil(), preset(epochs=3), data)[0])


def test_every_class_weighs_the_same_in_validation() -> None:
    data = data_of([(4, 9, 2)])
    training = FoldTraining(abmil(), preset(), data, 0)
    val = data.folds[0].val  # 5 of class 0, 4 of class 1
    logits, _ = training.outputs(training.val)
    losses = -logits.detach().log_softmax(dim=1)[range(9), torch.from_numpy(val.outcomes.numbers)].numpy()
    means = [losses[val.outcomes.numbers == number].mean() for number in range(2)]
    assert training.validation_loss() == pytest.approx(np.mean(means), abs=1e-6)


def test_balanced_draws_take_every_class_equally_often() -> None:
    data = data_of([(40, 0, 2)])
    train = data.folds[0].train
    train.outcomes.numbers[:] = [0] * 36 + [1] * 4
    training = FoldTraining(abmil(), preset(), data, 0)
    drawn = np.concatenate([train.outcomes.numbers[training.sample_cases().numpy()] for _ in range(100)])
    assert drawn.mean() == pytest.approx(0.5, abs=0.03)
    plain = FoldTraining(abmil(), preset(balanced=False), data, 0)
    assert sorted(plain.sample_cases().tolist()) == list(range(40))


def test_vectors_are_standardised_by_the_training_regions() -> None:
    data = data_of([(6, 4, 5)])
    regions = data.features[np.concatenate(data.folds[0].train.rows)]
    mean, scale = region_moments(data.features, data.folds[0].train)
    np.testing.assert_allclose(((regions - mean.numpy()) * scale.numpy()).mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(((regions - mean.numpy()) * scale.numpy()).std(axis=0), 1, atol=1e-5)
    data.features[:, 1] = 7  # a constant dimension is left in scale
    mean, scale = region_moments(data.features, data.folds[0].train)
    assert (float(mean[1]), float(scale[1])) == (7, 1)


def test_a_value_far_from_all_training_regions_is_ten_deviations_away() -> None:
    """A feature that hardly varies in training would else decide alone: 1 is a hundred thousand deviations away."""
    data = data_of([(40, 10, 5)])
    data.features[:, 4] = 1e-5 * np.random.default_rng(0).normal(size=len(data.features))
    near, far = (FoldTraining(abmil(), preset(standardise=True), data, 0) for _ in range(2))
    place = torch.tensor([0])
    expected, _ = near.bags(near.tested, place)
    data.features[near.tested.rows[0], 4] = 1
    found, _ = far.bags(far.tested, place)
    assert (found[:, 4] == 10).all()
    assert torch.equal(found[:, :4], expected[:, :4])


@pytest.mark.parametrize("optimiser", ["adam", "adamw"])
@pytest.mark.parametrize("most_regions", [head_network.MOST_REGIONS, 17, 1])
def test_training_is_that_of_a_plain_loop(optimiser: str, most_regions: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of three bags, the last of one: the mean loss of a step's bags, over standardised vectors.

    However many of them are held at a time.
    """
    monkeypatch.setattr(head_network, "MOST_REGIONS", most_regions)
    data = data_of([(7, 0, 4)])
    data.features[:] = 5 + 3 * data.features
    recipe = preset(optimiser=optimiser, epochs=4, batch_size=3, standardise=True, weight_decay=0.01)
    fold = data.folds[0]
    twin = FoldTraining(abmil(dropout=0.0), recipe, data, 0)  # draws the same weights and the same cases
    training = data.features[np.concatenate(fold.train.rows)]
    vectors = torch.from_numpy((data.features - training.mean(0)) / training.std(0)).float()

    def logits(rows: np.ndarray) -> torch.Tensor:
        return twin.network(vectors[torch.from_numpy(rows)], [len(rows)])[0]  # type: ignore[no-any-return]

    torch_class = torch.optim.Adam if optimiser == "adam" else torch.optim.AdamW
    theirs = torch_class(twin.network.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    for _ in range(4):
        for places in torch.split(twin.sample_cases(), 3):
            numbers = torch.from_numpy(fold.train.outcomes.numbers)[places]
            scores = torch.cat([logits(fold.train.rows[place]) for place in places])
            theirs.zero_grad()
            nn.functional.cross_entropy(scores, numbers).backward()
            theirs.step()
    expected = torch.cat([logits(rows) for rows in fold.test.rows]).softmax(dim=1).detach()
    (found,) = outputs(abmil(dropout=0.0), recipe, data)
    np.testing.assert_allclose(found.outputs, expected, atol=1e-4)


def test_training_that_diverges_names_head_and_fold() -> None:
    with pytest.raises(EvaluationError, match=r"head abmil, fold 0: training diverged.*learning_rate.*1e\+30"):
        predict_trained(abmil(), preset(epochs=2, learning_rate=1e30), data_of([(9, 0, 4)]))


def test_only_the_l2_term_feels_the_loss_divisor() -> None:
    """HIPT divides its loss by 32: with Adam that changes nothing but the weight decay beside it."""
    data = data_of([(12, 0, 6)])

    def found(**changes: object) -> np.ndarray:
        recipe = preset(optimiser="adam", epochs=2, **changes)
        return outputs(abmil(dropout=0.0), recipe, data)[0].outputs

    plain, divided = found(weight_decay=0), found(weight_decay=0, loss_divisor=32)
    np.testing.assert_allclose(plain, divided, atol=1e-3)
    np.testing.assert_allclose(found(weight_decay=0.32), found(weight_decay=0.01, loss_divisor=32), atol=1e-3)
    assert np.abs(found(weight_decay=0.32) - plain).max() > 0.01


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_it_learns_which_region_makes_the_class(head: str, n_classes: int) -> None:
    data = data_of([(90, 20, 30)], n_classes)
    (found,) = outputs(HEADS[head], preset(epochs=25), data)
    assert found.outputs.shape == (30, n_classes)
    np.testing.assert_allclose(found.outputs.sum(axis=1), 1)
    assert (found.outputs.argmax(axis=1) == data.folds[0].test.outcomes.numbers).mean() > 0.85
    assert [len(weights) for weights in found.weights] == [len(rows) for rows in data.folds[0].test.rows]
    assert all(weights.sum() == pytest.approx(1, abs=1e-5) for weights in found.weights)


@pytest.mark.parametrize("loss", ["discrete", "cox"])
@pytest.mark.parametrize("head", HEADS)
def test_it_learns_who_dies_first(head: str, loss: Literal["discrete", "cox"]) -> None:
    data = survival_data(loss=loss)
    (found,) = outputs(HEADS[head], preset(epochs=15, patience=5), data)
    assert ((found.outputs >= 0) & (found.outputs <= 1)).all()
    assert point_metrics("survival", data.folds[0].test.outcomes, found.outputs)["c_index"] > 0.75


@pytest.mark.skipif(not MIL.is_dir(), reason="the multiple-instance sets are not here")
def test_musk1_is_learnt() -> None:
    """Three folds, one seed; all heads and ten folds are benchmarks/mil_sets.py's."""
    data = mil_set(MIL / "musk1.csv", n_folds=3, validation_fraction=0, seed=0)
    recipe = preset(learning_rate=5e-4, weight_decay=1e-2, epochs=40, batch_size=8)
    found = predict_trained(abmil(embedding=128, attention=64), recipe, data)
    assert np.mean(scores(data, [fold.outputs for fold in found])[0]) > 0.75
