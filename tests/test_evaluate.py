"""The stage: every test case of every fold is predicted and scored; what cannot be evaluated is refused by name."""

import argparse
import csv
import logging
import math
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small_cases import class_task, head_card_arguments, regression_task, survival_cohort, survival_task

from slpd.artifacts.evaluation.fold_metrics import read_fold_metrics
from slpd.artifacts.evaluation.folds import Fold, LabelledSlide, write_folds
from slpd.artifacts.evaluation.metric_intervals import read_intervals
from slpd.artifacts.evaluation.region_weights import read_region_weights
from slpd.artifacts.learned.bags import write_bags
from slpd.errors import EvaluationError, UserError
from slpd.evaluation import logistic
from slpd.evaluation.cases import evaluation_data
from slpd.evaluation.training_classes import check_validation
from slpd.settings.evaluation import ClassTask, GeneratedFolds, ImportedFolds, Intervals, SurvivalTask, task_from_json
from slpd.settings.heads import LogisticHead, head_from_json
from slpd.settings.tables import SURVIVAL_METRICS, metrics_of
from slpd.stages import evaluate

FOLDS = GeneratedFolds(kind="generated", n_folds=2, validation_fraction=0, seed=0)
TASK = ClassTask(name="grade", cohort="demo", label="class", classes=["low", "high"], folds=FOLDS)
SLIDES = [LabelledSlide(f"s{i}", f"p{i}", "low" if i < 4 else "high") for i in range(8)]
KNN = '{"kind": "knn", "name": "knn", "k": 1}'
Bags = dict[str, NDArray[np.float32]]


def bags_of(slides: list[LabelledSlide]) -> Bags:
    """Three regions per slide; the classes lie apart."""
    rng = np.random.default_rng(0)
    return {s.slide: (rng.normal(size=(3, 4)) + 20 * (s.label == "high")).astype(np.float32) for s in slides}


def run_stage(
    folder: Path, bags: Bags, folds: list[Fold], head: str = KNN, task: ClassTask | SurvivalTask = TASK
) -> tuple[list[dict[str, str]], dict[str, Path]]:
    """Run the command; returns the lines of predictions.csv and the paths of what was written."""
    write_bags(folder / "bags.h5", bags, {slide: np.zeros((len(bag), 2), np.int64) for slide, bag in bags.items()})
    write_folds(folder / "folds.csv", folds)
    files = {name: folder / name for name in ("predictions", "metrics", "intervals", "calibration", "weights", "heads")}
    files["resamples"] = folder / "resamples.npz"
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    named = {"bags": folder / "bags.h5", "folds": folder / "folds.csv", **files, "variant": "dino", "head": head}
    named |= {
        "task": task.model_dump_json(),
        "settings": Intervals(n_resamples=200, level=0.9, seed=0).model_dump_json(),
    }
    words = [word for name, value in named.items() for word in (f"--{name}", str(value))]
    evaluate.run(parser.parse_args([*words, "--preset", *head_card_arguments(folder)]))
    return lines(files["predictions"]), files


def lines(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


TWO_FOLDS = [Fold(SLIDES[2:6], [], SLIDES[:2] + SLIDES[6:]), Fold(SLIDES[:2] + SLIDES[6:], [], SLIDES[2:6])]


def test_every_test_slide_is_predicted_and_scored(tmp_path: Path) -> None:
    predictions, files = run_stage(tmp_path, bags_of(SLIDES), TWO_FOLDS)
    assert [(line["fold"], line["slide"]) for line in predictions] == [
        (str(number), slide.slide) for number, fold in enumerate(TWO_FOLDS) for slide in fold.test
    ]
    assert predictions[0] == {
        "task": "grade",
        "variant": "dino",
        "head": "knn",
        "fold": "0",
        "slide": "s0",
        "patient": "p0",
        "label": "low",
        "event": "",
        "predicted": "low",
        "group": "",
        "prob_low": "1.0",
        "prob_high": "0.0",
    }
    assert all(line["predicted"] == line["label"] for line in predictions)
    for number, fold_metrics in enumerate(read_fold_metrics(files["metrics"])):
        assert (fold_metrics.task, fold_metrics.variant, fold_metrics.head) == ("grade", "dino", "knn")
        assert fold_metrics.fold == number
        assert fold_metrics.auc == fold_metrics.accuracy == fold_metrics.balanced_accuracy == fold_metrics.f1 == 1
        assert fold_metrics.kappa == 1 and fold_metrics.ece == 0 and math.isnan(fold_metrics.c_index)


def test_intervals_weights_and_calibration_are_kept(tmp_path: Path) -> None:
    _, files = run_stage(tmp_path, bags_of(SLIDES), TWO_FOLDS)
    found = {row.metric: row for row in read_intervals(files["intervals"])}
    assert set(found) == set(metrics_of("subtyping"))
    assert found["sensitivity"].n_folds == 0  # without validation slides
    assert (found["auc"].mean, found["auc"].std, found["auc"].n_folds, found["auc"].level) == (1, 0, 2, 0.9)
    assert found["auc"].low == found["auc"].high == 1
    weights = read_region_weights(files["weights"])
    assert [(w.fold, w.slide) for w in weights] == [(n, s.slide) for n, fold in enumerate(TWO_FOLDS) for s in fold.test]
    assert all(np.allclose(w.weights, [1 / 3] * 3) for w in weights)
    assert [(row["class"], row["n_cases"], row["observed_share"]) for row in lines(files["calibration"])] == [
        ("low", "4", "0.0"),
        ("low", "4", "1.0"),
        ("high", "4", "0.0"),
        ("high", "4", "1.0"),
    ]


@pytest.mark.parametrize("head", [KNN, '{"kind": "logistic", "name": "l", "inverse_penalty": 1, "balanced": true}'])
def test_the_threshold_is_chosen_on_the_validation_slides(tmp_path: Path, head: str) -> None:
    """Two of them, apart: the cut lies between, and each test slide is on its class's side of it."""
    fold = Fold(SLIDES[1:3] + SLIDES[5:7], [SLIDES[0], SLIDES[4]], [SLIDES[3], SLIDES[7]])
    predictions, files = run_stage(tmp_path, bags_of(SLIDES), [fold], head)
    (found,) = read_fold_metrics(files["metrics"])
    low, high = (float(line["prob_high"]) for line in predictions)
    assert low < float(found.thresholds) < high
    assert found.sensitivity == found.specificity == 1


def test_a_patient_is_predicted_from_all_slides(tmp_path: Path) -> None:
    """The class shows in one slide of each patient; its slides have regions of their own number."""
    slides = [LabelledSlide(f"s{i}_{j}", f"p{i}", "low" if i < 4 else "high") for i in range(8) for j in range(2)]
    rng = np.random.default_rng(0)
    bags = {s.slide: rng.normal(size=(3 + int(s.slide[-1]), 4)).astype(np.float32) for s in slides}
    for i in range(4, 8):
        bags[f"s{i}_1"] += 20
    test = [slide for slide in slides if slide.patient in ("p0", "p1", "p6", "p7")]
    fold = Fold([slide for slide in slides if slide not in test], [], test)
    task = TASK.model_copy(update={"level": "patient"})
    predictions, files = run_stage(tmp_path, bags, [fold], task=task)
    assert [(line["slide"], line["patient"], line["predicted"]) for line in predictions] == [
        ("s0_0 s0_1", "p0", "low"),
        ("s1_0 s1_1", "p1", "low"),
        ("s6_0 s6_1", "p6", "high"),
        ("s7_0 s7_1", "p7", "high"),
    ]
    weights = read_region_weights(files["weights"])
    assert [(w.slide, len(w.weights)) for w in weights[:2]] == [("s0_0", 3), ("s0_1", 4)]
    assert sum(w.weights.sum() for w in weights[:2]) == pytest.approx(1)


def test_survival_is_predicted_as_hazards_and_risk(tmp_path: Path) -> None:
    slides, bags = survival_cohort(120, 0)
    fold = Fold(slides[:80], [], slides[80:])
    knn = '{"kind": "knn", "name": "knn", "k": 15}'
    predictions, files = run_stage(tmp_path, bags, [fold], knn, survival_task())
    first, line = slides[80], predictions[0]
    assert (line["label"], line["event"]) == (first.label, first.event)
    hazards = np.array([float(line[f"hazard_{i}"]) for i in range(3)])
    assert float(line["predicted"]) == pytest.approx(-np.cumprod(1 - hazards).sum())
    rows = read_intervals(files["intervals"])
    (fold_metrics,) = read_fold_metrics(files["metrics"])
    assert tuple(row.metric for row in rows) == SURVIVAL_METRICS
    assert all(row.low < row.mean < row.high for row in rows)
    row = rows[0]
    assert row.low < row.mean == fold_metrics.c_index < row.high
    assert row.mean > 0.7 and math.isnan(fold_metrics.auc)
    assert lines(files["calibration"]) == []


def test_ordinal_classes_are_predicted_by_their_median(tmp_path: Path) -> None:
    task = class_task(3, ordinal=True)
    slides = [LabelledSlide(f"s{i}", f"p{i}", f"c{i % 3}") for i in range(9)]
    bags = {slide.slide: np.zeros((2, 4), np.float32) for slide in slides}
    knn = '{"kind": "knn", "name": "knn", "k": 6}'
    predictions, files = run_stage(tmp_path, bags, [Fold(slides[:6], [], slides[6:])], knn, task)
    assert {line["predicted"] for line in predictions} == {"c1"}  # a third each: the middle grade
    (found,) = read_fold_metrics(files["metrics"])
    assert found.kappa == 0


def test_an_undefined_auc_is_logged_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        _, files = run_stage(tmp_path, bags_of(SLIDES), [Fold(SLIDES[1:], [], SLIDES[:1])])
    (fold_metrics,) = read_fold_metrics(files["metrics"])
    assert np.isnan(fold_metrics.auc)
    assert fold_metrics.accuracy == 1
    assert "fold 0: a class has no test slide" in caplog.text
    assert next(row for row in read_intervals(files["intervals"]) if row.metric == "auc").n_folds == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    bags = bags_of(SLIDES)
    bags["s3"][1, 2] = value
    with pytest.raises(UserError, match="slide s3: 1 of 3 region vectors hold NaN or infinity"):
        run_stage(tmp_path, bags, [Fold(SLIDES[1:], [], SLIDES[:1])])
    assert not (tmp_path / "metrics").exists()


def test_a_slide_without_bag_or_regions_is_refused(tmp_path: Path) -> None:
    fold = Fold(SLIDES[1:], [], SLIDES[:1])
    with pytest.raises(UserError, match="slide s7: in the folds but not in the bags"):
        run_stage(tmp_path, bags_of(SLIDES[:7]), [fold])
    with pytest.raises(UserError, match="slide s2: its bag has no regions"):
        run_stage(tmp_path, bags_of(SLIDES) | {"s2": np.zeros((0, 4), np.float32)}, [fold])


def test_vectors_of_another_width_are_refused() -> None:
    bags = bags_of(SLIDES) | {"s5": np.zeros((2, 3), np.float32)}
    with pytest.raises(UserError, match="slide s5: region vectors of 3 values, those of slide s1 have 4"):
        evaluation_data(bags, [Fold(SLIDES[1:], [], SLIDES[:1])], TASK)


def test_a_label_outside_the_classes_is_refused(tmp_path: Path) -> None:
    odd = LabelledSlide("s0", "p0", "middle")
    with pytest.raises(UserError, match="fold 0: slide s0: label 'middle' in the folds is not one of low, high"):
        run_stage(tmp_path, bags_of(SLIDES), [Fold(SLIDES[1:], [], [odd])])


ONE_CLASS = [Fold(SLIDES[1:], [], SLIDES[:1]), Fold(SLIDES[:3], SLIDES[4:6], SLIDES[6:])]
ONE_VALIDATED = [Fold(SLIDES[1:7], SLIDES[:1], SLIDES[7:])] * 2


def test_a_fold_that_trains_on_one_class_is_refused() -> None:
    with pytest.raises(EvaluationError, match="task grade, fold 1: all 3 training slides are of class low; use fewer"):
        evaluation_data(bags_of(SLIDES), ONE_CLASS, TASK)
    with pytest.raises(UserError, match="fold 0: no test slides"):
        evaluation_data(bags_of(SLIDES), [Fold(SLIDES, [], [])], TASK)


BIG_K = KNN.replace('"k": 1', '"k": 7')
WEAK = '{"kind": "logistic", "name": "probe", "inverse_penalty": 1e12, "balanced": false}'


@pytest.mark.parametrize(
    ("head", "folds", "why"),
    [
        (KNN, ONE_CLASS, "task grade, fold 1: all 3 training slides are of class low"),
        (BIG_K, TWO_FOLDS, "head knn: k is 7, but fold 0 has 4 training slides"),
        (WEAK, TWO_FOLDS, "head probe, fold 0: the regression has not converged within 2 steps"),
        (WEAK.replace("1e12", "[1, 2]"), TWO_FOLDS, "head probe: it would choose its inverse_penalty on validation"),
        (WEAK.replace("1e12", "[1, 2]"), ONE_VALIDATED, "head probe: .* but fold 0 has only cases of class low"),
    ],
)
def test_an_evaluation_that_the_data_do_not_allow_leaves_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str, folds: list[Fold], why: str
) -> None:
    """Every file is there, for the table: without figures, and with the reason for each metric."""
    monkeypatch.setattr(logistic, "MOST_STEPS", 2)
    predictions, files = run_stage(tmp_path, bags_of(SLIDES), folds, head)
    assert predictions == lines(files["calibration"]) == read_region_weights(files["weights"]) == []
    assert [fold.fold for fold in read_fold_metrics(files["metrics"])] == [0, 1]
    assert all(math.isnan(fold.auc) for fold in read_fold_metrics(files["metrics"]))
    rows = read_intervals(files["intervals"])
    assert {row.metric for row in rows} == set(metrics_of("subtyping"))
    assert all(row.n_folds == 0 and math.isnan(row.mean) and re.match(why, row.why) for row in rows)


def test_validation_slides_must_be_able_to_choose_a_penalty() -> None:
    head = head_from_json(WEAK.replace("1e12", "[1, 2]"))
    assert isinstance(head, LogisticHead)
    censored, seen = LabelledSlide("s0", "p0", "3", "0"), LabelledSlide("s1", "p1", "4", "1")
    with pytest.raises(EvaluationError, match="on validation cases, but fold 3 has none with an event; give it one"):
        check_validation(head, survival_task(), 3, [censored])
    check_validation(head, survival_task(), 3, [censored, seen])
    check_validation(head, regression_task(), 3, [LabelledSlide("s0", "p0", "3")])


def test_a_fault_of_the_code_is_no_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is not known to be the data's fault stays an error, and leaves nothing."""
    monkeypatch.setattr(evaluate, "predict", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_stage(tmp_path, bags_of(SLIDES), TWO_FOLDS)
    assert not (tmp_path / "intervals").exists()


def test_folds_that_leak_are_refused_by_slide_and_patient() -> None:
    bags = bags_of(SLIDES)
    with pytest.raises(UserError, match="fold 0: slide s0 is in train and test"):
        evaluation_data(bags, [Fold(SLIDES, [], SLIDES[:1])], TASK)
    twin = LabelledSlide("s0", "p1", "low")
    fold = Fold(SLIDES[1:], [], [twin])
    with pytest.raises(UserError, match=r"fold 0: patient p1 \(slide s0\) is in train and test, which generated folds"):
        evaluation_data(bags, [fold], TASK)
    imported = ImportedFolds(kind="imported", folder="f", allow_patient_overlap=True)
    evaluation_data(bags, [fold], TASK.model_copy(update={"folds": imported}))


def test_settings_of_a_head_are_checked_by_name() -> None:
    assert head_from_json(KNN).name == "knn"
    with pytest.raises(UserError, match=r"^heads\.knn\.neighbours: unknown key"):
        head_from_json('{"kind": "knn", "name": "knn", "k": 1, "neighbours": 3}')
    with pytest.raises(UserError, match=r"^heads\.knn\.k: .*greater than 0"):
        head_from_json('{"kind": "knn", "name": "knn", "k": 0}')
    with pytest.raises(UserError, match=r"^heads\.forest\.kind: .*'abmil'.*'forest'"):
        head_from_json('{"kind": "forest", "name": "forest"}')


def test_a_head_that_is_trained_wants_a_preset(tmp_path: Path) -> None:
    head = '{"kind": "max_mil", "name": "max", "preset": "p", "embedding": 4, "dropout": 0}'
    with pytest.raises(UserError, match="head max: no preset says how it is trained"):
        run_stage(tmp_path, bags_of(SLIDES), TWO_FOLDS, head)


def test_classes_are_distinct_names() -> None:
    settings = TASK.model_dump(mode="json")
    for classes, message in ((["low", "low"], "listed twice"), (["low", "high "], "ends with a space")):
        with pytest.raises(ValueError, match=message):
            ClassTask.model_validate(settings | {"classes": classes})


def test_a_task_without_a_kind_is_one_of_classes() -> None:
    settings = TASK.model_dump_json(exclude={"kind"})
    assert task_from_json(settings) == TASK
    assert isinstance(task_from_json(survival_task().model_dump_json()), SurvivalTask)
    with pytest.raises(UserError, match=r"^tasks\.grade\.kind: .*'regression' \(it is 'grading'\)"):
        task_from_json(TASK.model_dump_json().replace("subtyping", "grading"))


def test_too_few_events_for_the_intervals_are_refused_by_fold() -> None:
    slides = [LabelledSlide(f"s{i}", f"p{i}", str(i + 1), str(int(i < 2))) for i in range(8)]
    bags = {slide.slide: np.zeros((1, 2), np.float32) for slide in slides}
    with pytest.raises(UserError, match=r"task os, fold 0: 2 training events at 2 different times cannot be cut into"):
        evaluation_data(bags, [Fold(slides[:6], [], slides[6:])], survival_task(3))
