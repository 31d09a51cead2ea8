"""Survival metrics equal torchsurv's and hand-worked cases; where nothing can be counted they are undefined."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from test_intervals import SETTINGS

from slpd.artifacts.evaluation.folds import LabelledSlide
from slpd.evaluation.cases import Cases, Outcomes
from slpd.evaluation.fold_reference import FoldReference
from slpd.evaluation.intervals import metric_intervals
from slpd.evaluation.metrics import fold_metrics, point_metrics
from slpd.evaluation.survival import interval_of, interval_starts, life_table, risk
from slpd.settings.tables import SURVIVAL_METRICS

Drawn = tuple[Outcomes, NDArray[np.float64], FoldReference]


def outcomes_of(times: NDArray[np.float64], seen: NDArray[np.bool_], starts: NDArray[np.float64]) -> Outcomes:
    return Outcomes(interval_of(times, starts), seen, times)


def draw(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """What tells of the risk of n cases, their times, and which events are seen: about six in ten."""
    value = rng.normal(size=n)
    time, follow_up = rng.exponential(10 * np.exp(-value)), rng.exponential(15, n)
    return value, np.minimum(time, follow_up), time <= follow_up


def drawn_fold(rng: np.random.Generator, n_train: int = 150, n_test: int = 80) -> Drawn:
    """Test cases, hazards in four intervals that know their risk but for noise, and what training gives."""
    _, train_times, train_seen = draw(rng, n_train)
    value, times, seen = draw(rng, n_test)
    starts = interval_starts(train_times[train_seen], 4, "fold 0")
    hazards = 1 / (1 + np.exp(1 - value[:, None] - rng.normal(size=(n_test, 4)) / 2))
    reference = FoldReference(train=outcomes_of(train_times, train_seen, starts), starts=starts)
    return outcomes_of(times, seen, starts), hazards, reference


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore")  # torchsurv's own
@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_torchsurvs_with_its_weights_of_the_training_cases(seed: int) -> None:
    """Also with a second set of weights, which are whole numbers: cases are repeated."""
    import torch
    from torchsurv.metrics.auc import Auc
    from torchsurv.metrics.brier_score import BrierScore
    from torchsurv.metrics.cindex import ConcordanceIndex
    from torchsurv.stats.ipcw import get_ipcw

    rng = np.random.default_rng(seed)
    outcomes, hazards, reference = drawn_fold(rng)
    assert reference.train is not None and reference.starts is not None
    weights = np.stack([np.ones(80), rng.integers(0, 3, 80)])
    found = fold_metrics("survival", outcomes, hazards, weights, reference)
    known = [torch.tensor(array) for array in (reference.train.observed, reference.train.values)]
    last = reference.train.values[reference.train.observed].max()
    boundaries = torch.tensor(reference.starts)
    for place, counts in enumerate(weights.astype(int)):
        seen, times, repeated = (
            torch.tensor(np.repeat(x, counts, axis=0)) for x in (outcomes.observed, outcomes.values, hazards)
        )
        ipcw = torch.where(times <= last, get_ipcw(*known, times), 0).double()
        survival = torch.cumprod(1 - repeated, dim=1)[:, :-1]
        at_boundaries = {"new_time": boundaries, "weight": ipcw, "weight_new_time": get_ipcw(*known, boundaries)}
        uno = ConcordanceIndex()(torch.tensor(risk(repeated.numpy())), seen, times, weight=ipcw)
        assert found["uno_c_index"][place] == pytest.approx(float(uno), rel=1e-5)
        auc = Auc()(1 - survival, seen, times, **at_boundaries)
        assert found["td_auc"][place] == pytest.approx(float(auc.mean()), rel=1e-5)
        brier = BrierScore()(survival, seen, times, **at_boundaries).numpy()
        integral = np.trapezoid([0, *brier], [0, *reference.starts]) / reference.starts[-1]
        assert found["ibs"][place] == pytest.approx(integral, rel=1e-5)


def test_a_life_table_is_counted_by_hand() -> None:
    """At 2 one has the event and one is censored; the event comes first."""
    table = life_table(np.array([1.0, 2, 2, 3, 3, 5]), np.array([True, True, False, False, False, True]))
    assert table.times.tolist() == [1, 2, 3, 5]
    assert table.at_risk.tolist() == [6, 5, 3, 1]
    assert (table.events.tolist(), table.censored.tolist()) == ([1, 1, 0, 1], [0, 1, 2, 0])
    np.testing.assert_allclose(table.survival, [5 / 6, 5 / 6 * 4 / 5, 5 / 6 * 4 / 5, 0])
    np.testing.assert_allclose(table.uncensored, [1, 3 / 4, 3 / 4 * 1 / 3, 3 / 4 * 1 / 3])


def test_kaplan_meier_is_scipys() -> None:
    _, times, seen = draw(np.random.default_rng(0), 60)
    times = times.round()  # ties, of events and of censorings
    theirs = stats.ecdf(stats.CensoredData(uncensored=times[seen], right=times[~seen])).sf
    table = life_table(times, seen)
    np.testing.assert_allclose(table.survival, theirs.evaluate(table.times), atol=1e-12)


def test_without_censoring_unos_index_is_harrells_and_the_brier_score_plain() -> None:
    """And the AUC that of the boundary: before it or not."""
    times, seen = np.arange(1.0, 9), np.full(8, True)
    starts = np.array([4.5])
    reference = FoldReference(train=outcomes_of(times, seen, starts), starts=starts)
    outcomes = outcomes_of(times, seen, starts)
    hazards = np.array([[0.9], [0.4], [0.8], [0.7], [0.5], [0.3], [0.2], [0.1]]) * [1, 0.5]
    found = point_metrics("survival", outcomes, hazards, reference)
    assert found["uno_c_index"] == pytest.approx(found["c_index"])
    assert found["td_auc"] == pytest.approx(15 / 16)  # 0.4 before the boundary, 0.5 after it
    brier = np.mean((1 - hazards[:, 0] - (times > 4.5)) ** 2)
    assert found["ibs"] == pytest.approx(brier / 2)  # from 0 at time 0 it rises in a straight line


def test_what_cannot_be_counted_is_undefined() -> None:
    outcomes, hazards, reference = drawn_fold(np.random.default_rng(1))
    assert reference.starts is not None
    censored = Outcomes(outcomes.numbers, np.zeros(80, bool), outcomes.values)
    found = point_metrics("survival", censored, hazards, reference)
    assert all(math.isnan(found[metric]) for metric in ("c_index", "uno_c_index", "td_auc"))  # type: ignore[literal-required]
    assert found["ibs"] > 0  # survival is a forecast, too
    early = outcomes.values < reference.starts[0]
    first = Outcomes(outcomes.numbers[early], outcomes.observed[early], outcomes.values[early])
    found = point_metrics("survival", first, hazards[early], reference)  # nobody is followed to a boundary
    assert math.isnan(found["td_auc"]) and math.isnan(found["ibs"]) and found["c_index"] > 0
    late = Outcomes(outcomes.numbers, outcomes.observed, outcomes.values + 1000)  # after all of training
    found = point_metrics("survival", late, hazards, reference)
    assert math.isnan(found["uno_c_index"]) and math.isnan(found["td_auc"])
    found = point_metrics("survival", outcomes, hazards)
    assert {metric for metric, value in found.items() if not math.isnan(value)} == {"c_index"}


@pytest.mark.slow
def test_intervals_cover_what_is_expected_of_the_mean() -> None:
    """In 300 simulated evaluations of five folds, each with a training set of its own."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(300):
        folds = [drawn_fold(rng, 160, 40) for _ in range(5)]
        tests = [
            Cases([[LabelledSlide(f"s{k}_{i}", f"p{k}_{i}", "")] for i in range(40)], [[1]] * 40, [], outcomes)
            for k, (outcomes, _, _) in enumerate(folds)
        ]
        hazards, references = [fold[1] for fold in folds], [fold[2] for fold in folds]
        found.append(metric_intervals("survival", tests, hazards, SETTINGS, references))
    for metric in SURVIVAL_METRICS:
        expected = np.mean([one[metric].mean for one in found])
        covered = np.mean([one[metric].low <= expected <= one[metric].high for one in found])
        assert 0.90 <= covered <= 0.99, (metric, covered)
