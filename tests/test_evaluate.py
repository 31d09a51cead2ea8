"""The stage: every test slide of every fold is predicted and scored; unusable bags are refused by name."""

import argparse
import csv
import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slpd.artifacts.bags import write_bags
from slpd.artifacts.fold_metrics import read_fold_metrics
from slpd.artifacts.folds import Fold, LabelledSlide, write_folds
from slpd.errors import UserError
from slpd.settings.evaluation import GeneratedFolds, Task, head_from_json
from slpd.stages import evaluate

FOLDS = GeneratedFolds(kind="generated", n_folds=2, validation_fraction=0, seed=0)
TASK = Task(name="grade", cohort="demo", label="class", classes=["low", "high"], folds=FOLDS)
SLIDES = [LabelledSlide(f"s{i}", f"p{i}", "low" if i < 4 else "high") for i in range(8)]
KNN = '{"kind": "knn", "name": "knn", "k": 1}'


def bags_of(slides: list[LabelledSlide]) -> dict[str, NDArray[np.float32]]:
    """Three regions per slide; the classes lie apart."""
    rng = np.random.default_rng(0)
    return {s.slide: (rng.normal(size=(3, 4)) + 20 * (s.label == "high")).astype(np.float32) for s in slides}


def run_stage(
    folder: Path, bags: dict[str, NDArray[np.float32]], folds: list[Fold], head: str = KNN
) -> tuple[list[dict[str, str]], Path]:
    """Run the command; returns the lines of predictions.csv and the path of metrics.csv."""
    write_bags(folder / "bags.h5", bags, {slide: np.zeros((len(bag), 2), np.int64) for slide, bag in bags.items()})
    write_folds(folder / "folds.csv", folds)
    files = {name: folder / f"{name}.csv" for name in ("predictions", "metrics")}
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    named = {"bags": folder / "bags.h5", "folds": folder / "folds.csv", **files, "variant": "dino"}
    named |= {"task": TASK.model_dump_json(), "head": head}
    evaluate.run(parser.parse_args([word for name, value in named.items() for word in (f"--{name}", str(value))]))
    with open(files["predictions"], newline="") as file:
        return list(csv.DictReader(file)), files["metrics"]


def test_every_test_slide_is_predicted_and_scored(tmp_path: Path) -> None:
    folds = [Fold(SLIDES[2:6], [], SLIDES[:2] + SLIDES[6:]), Fold(SLIDES[:2] + SLIDES[6:], [], SLIDES[2:6])]
    predictions, metrics = run_stage(tmp_path, bags_of(SLIDES), folds)
    assert [(line["fold"], line["slide"]) for line in predictions] == [
        (str(number), slide.slide) for number, fold in enumerate(folds) for slide in fold.test
    ]
    assert predictions[0] == {
        "task": "grade",
        "variant": "dino",
        "head": "knn",
        "fold": "0",
        "slide": "s0",
        "patient": "p0",
        "label": "low",
        "predicted": "low",
        "prob_low": "1.0",
        "prob_high": "0.0",
    }
    assert all(line["predicted"] == line["label"] for line in predictions)
    for number, fold_metrics in enumerate(read_fold_metrics(metrics)):
        assert (fold_metrics.task, fold_metrics.variant, fold_metrics.head) == ("grade", "dino", "knn")
        assert fold_metrics.fold == number
        assert fold_metrics.auc == fold_metrics.accuracy == fold_metrics.balanced_accuracy == fold_metrics.f1 == 1


def test_an_undefined_auc_is_logged_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        _, metrics = run_stage(tmp_path, bags_of(SLIDES), [Fold(SLIDES[1:], [], SLIDES[:1])])
    (fold_metrics,) = read_fold_metrics(metrics)
    assert np.isnan(fold_metrics.auc)
    assert fold_metrics.accuracy == 1
    assert "fold 0: a class has no test slide" in caplog.text


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    bags = bags_of(SLIDES)
    bags["s3"][1, 2] = value
    with pytest.raises(UserError, match="slide s3: 1 of 3 region vectors hold NaN or infinity"):
        run_stage(tmp_path, bags, [Fold(SLIDES[1:], [], SLIDES[:1])])
    assert not (tmp_path / "metrics.csv").exists()


def test_a_slide_without_bag_or_regions_is_refused(tmp_path: Path) -> None:
    fold = Fold(SLIDES[1:], [], SLIDES[:1])
    with pytest.raises(UserError, match="slide s7: in the folds but not in the bags"):
        run_stage(tmp_path, bags_of(SLIDES[:7]), [fold])
    with pytest.raises(UserError, match="slide s2: its bag has no regions"):
        run_stage(tmp_path, bags_of(SLIDES) | {"s2": np.zeros((0, 4), np.float32)}, [fold])


def test_a_label_outside_the_classes_is_refused(tmp_path: Path) -> None:
    odd = LabelledSlide("s0", "p0", "middle")
    with pytest.raises(UserError, match="slide s0: label 'middle' in the folds is not one of low, high"):
        run_stage(tmp_path, bags_of(SLIDES), [Fold(SLIDES[1:], [], [odd])])


def test_a_fold_that_trains_on_one_class_is_refused(tmp_path: Path) -> None:
    folds = [Fold(SLIDES[1:], [], SLIDES[:1]), Fold(SLIDES[:3], SLIDES[4:6], SLIDES[6:])]
    with pytest.raises(UserError, match="fold 1: all 3 training slides are of class low"):
        run_stage(tmp_path, bags_of(SLIDES), folds)


def test_settings_of_a_head_are_checked_by_name() -> None:
    assert head_from_json(KNN).name == "knn"
    with pytest.raises(UserError, match=r"knn\.neighbours: unknown key"):
        head_from_json('{"kind": "knn", "name": "knn", "k": 1, "neighbours": 3}')
    with pytest.raises(UserError, match=r"knn\.k: .*greater than 0"):
        head_from_json('{"kind": "knn", "name": "knn", "k": 0}')
    with pytest.raises(UserError, match="'forest'"):
        head_from_json('{"kind": "forest", "name": "forest"}')


def test_classes_are_distinct_names() -> None:
    settings = TASK.model_dump(mode="json")
    for classes, message in ((["low", "low"], "there twice"), (["low", "high "], "ends with a space")):
        with pytest.raises(ValueError, match=message):
            Task.model_validate(settings | {"classes": classes})
