"""Regression tasks: metrics equal scikit-learn's and scipy's, heads learn a planted value, folds spread the values."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as sk
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from small_cases import Bags, abmil, max_mil, preset, regression_cohort, regression_task, vit_wsi
from test_evaluate import run_stage
from test_intervals import SETTINGS

from slpd.artifacts.evaluation.fold_metrics import read_fold_metrics
from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.artifacts.evaluation.predictions import Prediction
from slpd.artifacts.slides.sheet import SheetRow
from slpd.errors import EvaluationError, UserError
from slpd.evaluation.cases import Cases, Outcomes, evaluation_data
from slpd.evaluation.ensemble import ensemble_of
from slpd.evaluation.fold_reference import WITHOUT_REFERENCE
from slpd.evaluation.head_output import HeadOutput
from slpd.evaluation.intervals import metric_intervals
from slpd.evaluation.metrics import fold_metrics, point_metrics
from slpd.evaluation.prediction import predict
from slpd.evaluation.task_folds import make_folds
from slpd.evaluation.tasks import check_task, labelled_slides
from slpd.plots.evaluation_figures import draw_regression
from slpd.plots.style import drawing
from slpd.report.attention import words_of
from slpd.report.result_figures import Evaluated, regression_figures
from slpd.report.variant_results import predicted_case
from slpd.settings.evaluation import AllSlides
from slpd.settings.heads import AnyHead, head_from_json
from slpd.settings.tables import REGRESSION_METRICS
from slpd.tables.facts import task_facts

KNN = '{"kind": "knn", "name": "knn", "k": 5, "weights": "distance"}'
RIDGE = '{"kind": "logistic", "name": "ridge", "inverse_penalty": 0.5, "balanced": true}'


def values_of(values: NDArray[np.float64]) -> Outcomes:
    return Outcomes(np.zeros(len(values), int), np.ones(len(values), bool), values)


def drawn(rng: np.random.Generator, n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """True values, with ties, and predictions that know half of their variance."""
    values = rng.normal(50, 10, n).round()
    return values, (50 + 0.5 * (values - 50) + rng.normal(0, 5, n)).round(1)


def test_metrics_equal_scikit_learns_and_scipys() -> None:
    """With weights, of which whole numbers repeat cases."""
    rng = np.random.default_rng(0)
    values, predicted = drawn(rng, 60)
    weights = np.stack([np.ones(60), rng.integers(0, 3, 60)]).astype(float)
    found = fold_metrics("regression", values_of(values), predicted[:, None], weights)
    for place, counts in enumerate(weights.astype(int)):
        truth, given = np.repeat(values, counts), np.repeat(predicted, counts)
        assert found["r2"][place] == pytest.approx(sk.r2_score(truth, given))
        assert found["mae"][place] == pytest.approx(sk.mean_absolute_error(truth, given))
        assert found["pearson"][place] == pytest.approx(stats.pearsonr(truth, given).statistic)
        assert found["spearman"][place] == pytest.approx(stats.spearmanr(truth, given).statistic)


def test_values_that_are_all_equal_leave_correlations_undefined() -> None:
    same, other = np.full(5, 0.1), np.arange(5.0)
    found = point_metrics("regression", values_of(same), other[:, None])
    assert all(math.isnan(found[metric]) for metric in ("r2", "pearson", "spearman"))  # type: ignore[literal-required]
    assert found["mae"] == pytest.approx(1.94)
    found = point_metrics("regression", values_of(other), same[:, None])
    assert math.isnan(found["pearson"]) and found["r2"] < 0


@pytest.mark.slow
def test_intervals_cover_what_is_expected_of_the_mean() -> None:
    """In 300 simulated evaluations of five folds with 40 cases."""
    rng, found = np.random.default_rng(4), []
    for _ in range(300):
        folds = [drawn(rng, 40) for _ in range(5)]
        tests = [
            Cases([[LabelledSlide(f"s{k}_{i}", f"p{k}_{i}", "")] for i in range(40)], [[1]] * 40, [], values_of(values))
            for k, (values, _) in enumerate(folds)
        ]
        outputs = [predicted[:, None] for _, predicted in folds]
        found.append(metric_intervals("regression", tests, outputs, SETTINGS, [WITHOUT_REFERENCE] * 5))
    for metric in REGRESSION_METRICS:
        expected = np.mean([one[metric].mean for one in found])
        covered = np.mean([one[metric].low <= expected <= one[metric].high for one in found])
        assert 0.90 <= covered <= 0.99, (metric, covered)


def one_fold() -> tuple[Bags, Fold]:
    """One fold of slides whose value all their regions carry."""
    splits = [regression_cohort(n, seed) for seed, n in enumerate((120, 30, 50))]
    bags = {slide: bag for _, some in splits for slide, bag in some.items()}
    return bags, Fold(*(slides for slides, _ in splits))


@pytest.mark.torch
@pytest.mark.parametrize("head", [head_from_json(KNN), head_from_json(RIDGE), abmil(), max_mil(), vit_wsi()])
def test_heads_learn_a_value(head: AnyHead) -> None:
    bags, fold = one_fold()
    data = evaluation_data(bags, [fold], regression_task())
    (found,) = predict(head, preset(epochs=20, patience=5), data)
    assert found.outputs.shape == (50, 1)
    assert point_metrics("regression", data.folds[0].test.outcomes, found.outputs)["r2"] > 0.6


def test_the_linear_head_is_ridge_regression_on_standardised_means() -> None:
    bags, fold = one_fold()
    data = evaluation_data(bags, [fold], regression_task())
    (found,) = predict(head_from_json(RIDGE), None, data)
    train, test = (
        np.stack([bags[s.slide].astype(float).mean(axis=0) for s in some]) for some in (fold.train, fold.test)
    )
    scaler = StandardScaler().fit(train)
    model = Ridge(alpha=2).fit(scaler.transform(train), [float(slide.label) for slide in fold.train])
    np.testing.assert_allclose(found.outputs[:, 0], model.predict(scaler.transform(test)))


def test_the_penalty_of_ridge_is_that_of_the_lowest_validation_error() -> None:
    bags, fold = one_fold()
    data = evaluation_data(bags, [fold], regression_task())
    errors = {}
    for penalty in (1e-4, 1e-1, 10.0):
        (found,) = predict(head_from_json(RIDGE.replace("0.5", str(penalty))), None, data)
        truth = data.folds[0].val.outcomes.values
        errors[penalty] = sk.mean_squared_error(truth, found.cut_outputs[:, 0]), found.outputs
    (chosen,) = predict(head_from_json(RIDGE.replace("0.5", "[1e-4, 1e-1, 10.0]")), None, data)
    np.testing.assert_array_equal(chosen.outputs, min(errors.values(), key=lambda pair: pair[0])[1])


def test_neighbours_predict_their_mean_by_their_distance() -> None:
    bags = {name: np.array([[x]], np.float32) for name, x in (("a", 0.0), ("b", 3.0), ("c", 9.0), ("t", 1.0))}
    train = [LabelledSlide(name, name, label) for name, label in (("a", "10"), ("b", "40"), ("c", "70"))]
    data = evaluation_data(bags, [Fold(train, [], [LabelledSlide("t", "t", "0")])], regression_task())
    (found,) = predict(head_from_json(KNN.replace("5", "2")), None, data)
    assert found.outputs[0, 0] == pytest.approx((10 / 1 + 40 / 2) / (1 / 1 + 1 / 2))


def test_the_stage_predicts_and_scores_values(tmp_path: Path) -> None:
    bags, fold = one_fold()
    lines, files = run_stage(tmp_path, bags, [fold], RIDGE, regression_task())
    assert lines[0]["label"] == fold.test[0].label and lines[0]["predicted"] == lines[0]["value"]
    (found,) = read_fold_metrics(files["metrics"])
    truth, predicted = ([float(line[name]) for line in lines] for name in ("label", "predicted"))
    assert found.r2 == pytest.approx(sk.r2_score(truth, predicted))
    assert math.isnan(found.auc) and found.thresholds == ""


def rows_of(values: list[str]) -> list[SheetRow]:
    return [SheetRow(f"s{i}", f"s{i}.svs", f"p{i // 2}", None, {"age": value}) for i, value in enumerate(values)]


def test_labels_are_numbers() -> None:
    task = regression_task()
    assert [slide.label for slide in labelled_slides(task, rows_of(["61", "", "-3.5", "1e2"]))] == ["61", "-3.5", "1e2"]
    for text in ("old", "1_0", "nan", "inf"):
        with pytest.raises(UserError, match=f"task age: slide s0 has age '{text}'; write a number"):
            labelled_slides(task, rows_of([text]))
    with pytest.raises(UserError, match="slides of different values are needed, 3 have 7"):
        check_task(task, labelled_slides(task, rows_of(["7", "7", "7"])))
    of_patients = task.model_copy(update={"level": "patient"})
    labelled_slides(of_patients, rows_of(["12", "12.0"]))
    with pytest.raises(UserError, match="patient p0 has slides of different labels"):
        labelled_slides(of_patients, rows_of(["12", "13"]))


def test_a_fold_that_trains_on_one_value_is_refused() -> None:
    slides = [LabelledSlide(f"s{i}", f"p{i}", "5" if i < 3 else "6") for i in range(4)]
    bags = {slide.slide: np.zeros((1, 2), np.float32) for slide in slides}
    with pytest.raises(EvaluationError, match="all 3 training slides are of value 5"):
        evaluation_data(bags, [Fold(slides[:3], [], slides[3:])], regression_task())


def test_generated_folds_spread_the_values_and_keep_their_labels() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(50, 10, 40)
    slides = [LabelledSlide(f"s{i}_{j}", f"p{i}", f"{values[i]:.2f}") for i in range(40) for j in range(2)]
    folds = make_folds(regression_task(), slides)
    assert sorted(s.slide for fold in folds for s in fold.test) == sorted(s.slide for s in slides)
    assert all(slide in slides for fold in folds for slide in fold.slides)
    quarters = np.quantile(values, [0.25, 0.5, 0.75])
    for fold in folds:
        counts = np.bincount(np.searchsorted(quarters, [float(slide.label) for slide in fold.test]), minlength=4)
        assert (counts == 10).all()  # five patients of each quarter in each of two folds
        assert not {slide.patient for slide in fold.test} & {slide.patient for slide in fold.train + fold.val}
    few = [replace(slide, label=str(i)) for i, slide in enumerate(slides[:6])]
    assert len(make_folds(regression_task(), few)) == 2  # three patients: one group
    with pytest.raises(UserError, match="group of values 1 of 1 has 1 patients, fewer than the 2 folds"):
        check_task(regression_task(), few[:2])


def evaluated() -> Evaluated:
    """Two test cases."""
    cases = [
        Prediction(0, ("s0",), "p0", "61", "", "58.5", "", (58.5,)),
        Prediction(1, ("s1",), "p1", "40", "", "47", "", (47,)),
    ]
    return Evaluated("slpd", "abmil", [], [], cases)


def test_captions_and_pages_say_what_values_are() -> None:
    case = evaluated().predictions[0]
    shown = predicted_case(regression_task(), case)
    assert shown.score == -abs(float(case.predicted) - float(case.label))
    assert words_of("regression")["best"] == "Smallest errors"
    with drawing():
        (figure,) = regression_figures(regression_task(), [evaluated()])
    header, *lines = figure.numbers
    assert [header, *lines] == [
        ["head", "variant", "true", "predicted"],
        ["abmil", "slpd", 61, 58.5],
        ["abmil", "slpd", 40, 47],
    ]
    slides = [LabelledSlide(f"s{i}", f"p{i}", label) for i, label in enumerate(("61", "7", "100"))]
    facts = task_facts(regression_task(), [Fold(slides[1:], [], slides[:1])], [], [], {})
    assert "3 labelled slides of 3 patients (age from 7 to 100: 3)" in facts.text


def test_values_that_are_all_one_can_be_drawn() -> None:
    with drawing():
        draw_regression({"slpd": np.full((3, 2), 7.0)}, "age")


def test_training_on_all_slides_draws_validation_from_every_quarter_of_the_values() -> None:
    folds = AllSlides(kind="all", validation_fraction=0.25, seed=0)
    task = regression_task().model_copy(update={"folds": folds, "test_cohort": "other"})
    slides = [LabelledSlide(f"s{i:02d}", f"p{i}", str(i)) for i in range(16)]
    (fold,) = make_folds(task, slides)
    assert sorted(int(slide.label) // 4 for slide in fold.val) == [0, 1, 2, 3]
    assert {slide.label for slide in fold.train + fold.val} == {str(i) for i in range(16)}


def test_heads_of_all_folds_predict_the_mean_of_their_values() -> None:
    weights = [np.ones(1, np.float32)] * 2
    folds = [HeadOutput(np.array(values)[:, None], weights, np.empty((0, 1))) for values in ([1.0, 5], [3.0, 5])]
    both = ensemble_of(regression_task(), folds)
    assert (both.names, both.predicted, both.means.tolist()) == (["value"], ["2.0", "5.0"], [[2], [5]])
    np.testing.assert_allclose(both.deviations, [[np.sqrt(2)], [0]])
