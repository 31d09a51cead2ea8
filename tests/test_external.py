"""External validation: heads of one cohort tested on another one, with its encoder, beside nothing else."""

import argparse
import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import external
import h5py
import numpy as np
import pytest
import toy
from sklearn.metrics import roc_auc_score
from small_cases import class_task, survival_task

from slpd.artifacts.evaluation.folds import LabelledSlide, read_folds
from slpd.artifacts.evaluation.metric_intervals import read_intervals
from slpd.artifacts.evaluation.region_weights import read_region_weights
from slpd.artifacts.evaluation.resamples import read_resamples
from slpd.artifacts.evaluation.trained_heads import read_trained_heads
from slpd.artifacts.learned.bags import read_bags
from slpd.artifacts.slides.sheet import SheetRow
from slpd.errors import UserError
from slpd.evaluation.external import external_slides, folds_tested_on
from slpd.evaluation.generated_folds import generate_folds
from slpd.evaluation.task_folds import fold_warnings
from slpd.stages import predict

RESULTS = Path("results/toy")


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def away(finished_toy: Path, make_slide: toy.MakeSlide) -> Path:
    """The finished toy, run on with the second cohort."""
    external.add_away(finished_toy, make_slide)
    arguments = toy.edited(finished_toy, external.with_away)
    planned = toy.planned(finished_toy, *arguments)
    assert not {"pretrain_dino", "distill_slpd", "export_encoder", "cluster_regions"} & planned.keys(), planned
    assert planned["embed_bags"] == 2 and planned["evaluate"] == 4, planned
    run = toy.snakemake(finished_toy, *arguments)
    assert run.returncode == 0, run.stdout + run.stderr
    return finished_toy


def test_heads_of_all_slides_are_tested_on_the_other_cohort(away: Path) -> None:
    """Every usable slide of one trains or validates, every one of the other is tested; nothing is pretrained there."""
    (fold,) = read_folds(away / RESULTS / "tasks/dx_away/folds.csv")
    assert {slide.slide for slide in [*fold.train, *fold.val]} == {f"s{i}" for i in range(9)}
    assert [slide.slide for slide in fold.test] == ["s20", "s21", "s22", "s23"]
    variant = away / RESULTS / "cohorts/away/variants/slpd"
    assert [path.name for path in variant.iterdir()] == ["of_toy"]
    assert not (away / RESULTS / "cohorts/away/warmup").exists()


def test_vectors_of_the_other_cohort_come_from_the_first_ones_encoder(away: Path) -> None:
    """Computed here from token file and weights, without the stage."""
    import torch

    from slpd.artifacts.learned.encoder_file import read_region_encoder
    from slpd.artifacts.patch_tokens.token_file import read_tokens
    from slpd.models.network import build_region_encoder

    weights, card = read_region_encoder(away / RESULTS / "cohorts/toy/variants/slpd/teacher.safetensors")
    encoder = build_region_encoder(card.region_encoder, card.token_width).eval()
    encoder.load_state_dict({name: torch.from_numpy(values) for name, values in weights.items()})
    tokens = torch.from_numpy(read_tokens(away / RESULTS / "cohorts/away/tokens/s21.h5").astype(np.float32))
    with torch.inference_mode():
        vectors = encoder(tokens.view(-1, card.grid, card.grid, card.token_width)).numpy()
    bags = read_bags(away / RESULTS / "cohorts/away/variants/slpd/of_toy/bags.h5")
    assert np.allclose(bags["s21"], vectors, atol=1e-5)


def test_figures_are_of_the_tested_patients(away: Path) -> None:
    """The AUC is scikit-learn's of the predictions; the interval that of the kept resamples."""
    folder = away / RESULTS / "tasks/dx_away/slpd/abmil"
    lines = rows(folder / "predictions.csv")
    assert [line["slide"] for line in lines] == ["s20", "s21", "s22", "s23"]
    auc = roc_auc_score([line["label"] == "b" for line in lines], [float(line["prob_b"]) for line in lines])
    interval = next(row for row in read_intervals(folder / "intervals.csv") if row.metric == "auc")
    assert interval.mean == pytest.approx(auc) and interval.n_folds == 1
    resampled, patients = read_resamples(folder / "resamples.npz", "auc")
    assert patients == ["p20", "p21", "p22", "p23"]
    known = resampled[~np.isnan(resampled)]  # a resample of one class has none
    assert (interval.low, interval.high) == pytest.approx(np.quantile(known, [0.025, 0.975]))
    assert read_trained_heads(folder / "heads.safetensors")[1].task.test_cohort == "away"


def test_tables_and_report_say_what_was_tested_where(away: Path) -> None:
    text = " ".join((away / RESULTS / "tables/away.md").read_text().split())
    assert "13 of 14 slides of both cohorts used" in text
    assert "1 fold, trained on toy; external validation: all test the 4 slides of 4 patients of away" in text
    assert "paired bootstrap over its patients" in text and "t-test" not in text
    assert "t-test on paired folds" in " ".join((away / RESULTS / "tables/toy.md").read_text().split())
    lines = [line for line in rows(away / RESULTS / "tables/away_differences.csv") if line["head"] == "abmil"]
    folder = away / RESULTS / "tasks/dx_away"
    for line in lines:
        first, second = (
            read_resamples(folder / name / "abmil/resamples.npz", line["metric"])[0]  # type: ignore[arg-type]
            for name in (line["first"], line["second"])
        )
        drawn = (first - second)[~np.isnan(first - second)]
        assert [float(line["low"]), float(line["high"])] == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
        assert 0 < float(line["p_value"]) <= 1
    assert "external validation" in (away / RESULTS / "report/results-away.html").read_text()


def test_a_predicted_cohort_has_the_figures_of_the_evaluation(away: Path) -> None:
    """Heads that were tested on it say the same again; those of two folds their mean and spread."""
    evaluated = rows(away / RESULTS / "tasks/dx_away/slpd/abmil/predictions.csv")
    predicted = rows(away / RESULTS / "predictions/tested/predictions.csv")
    assert [line["slide"] for line in predicted] == [line["slide"] for line in evaluated]
    for name in ("prob_a", "prob_b"):
        assert [float(line[name]) for line in predicted] == pytest.approx([float(line[name]) for line in evaluated])
    assert {line["sd_a"] for line in predicted} == {"nan"}
    folds = rows(away / RESULTS / "predictions/folds/predictions.csv")
    (record, *_) = sorted((away / RESULTS / "runs").iterdir(), reverse=True)
    made = json.loads(record.read_text())["results"]
    assert made["predictions/folds/predictions.csv"]["stage"] == "predict_slides"
    assert {(line["n_folds"], line["use"]) for line in folds} == {("2", "research use only")}
    assert all(float(line["sd_a"]) > 0 for line in folds)
    weights = read_region_weights(away / RESULTS / "tasks/dx_away/slpd/abmil/region_weights.h5")
    shown = json.loads((away / RESULTS / "predictions/tested/s21.geojson").read_text())
    measured = [tile["properties"]["measurements"]["weight"] for tile in shown["features"]]
    assert measured == pytest.approx(next(w.weights for w in weights if w.slide == "s21"), abs=1e-6)
    assert shown["use"] == "research use only" and (away / RESULTS / "predictions/tested/s21.jpg").exists()


def run_predict(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in the folder of the toy."""
    command = [sys.executable, "-m", "slpd", "predict", "--experiment", "toy", "--variant", "slpd", *words]
    environment = {**toy.environment(), "PYTHONPATH": str(toy.ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_predict_from_slide_or_tokens_says_what_the_evaluation_said(away: Path) -> None:
    """From pixels, through all stages, and from a file of tokens; a file that is no slide is left out by name."""
    evaluated = {line["slide"]: line for line in rows(away / RESULTS / "tasks/dx_away/slpd/abmil/predictions.csv")}
    run = run_predict(away, "--task", "dx_away", "--head", "abmil", "slides/s21.tiff", "slides/s9.tiff")
    assert run.returncode == 0, run.stdout + run.stderr
    (line,) = rows(away / "predictions/toy-dx_away/predictions.csv")
    assert float(line["prob_b"]) == pytest.approx(float(evaluated["s21"]["prob_b"]), abs=1e-6)
    assert rows(away / "predictions/toy-dx_away/left_out.csv")[0]["slide"] == "s9"
    tokens = str(RESULTS / "cohorts/away/tokens/s22.h5")
    run = run_predict(away, "--task", "dx_away", "--head", "abmil", "--out", "by_tokens", tokens)
    assert run.returncode == 0, run.stdout + run.stderr
    (line,) = rows(away / "by_tokens/predictions.csv")
    assert float(line["prob_b"]) == pytest.approx(float(evaluated["s22"]["prob_b"]), abs=1e-6)
    assert "Research use only." in run.stderr


def test_predict_refuses_what_does_not_fit_by_name(away: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with one line, before any work."""
    monkeypatch.chdir(away)
    words = ["--experiment", "toy", "--task", "dx_away", "--variant", "slpd", "--out", "refused"]
    other = str(RESULTS / "cohorts/toy/variants/dino/teacher.safetensors")
    cases = [
        (["slides/s21.tiff"], r"2 trained heads fit --task dx_away --variant slpd --head \*; there are --task dx_away"),
        (["--head", "knn", "slides/s21.tiff"], "head knn of kind knn has kept nothing"),
        (["--head", "abmil", "--encoder", other, "slides/s21.tiff"], "trained on vectors of the region encoder of SHA"),
        (["--head", "abmil", "--encoder", "gone", "slides/s21.tiff"], "no region encoder gone; say with --encoder"),
        (["--head", "abmil", "slides/none.tiff"], "slide slides/none.tiff: no such file or folder; correct the path"),
    ]
    parser = argparse.ArgumentParser()
    predict.add_arguments(parser)
    for given, message in cases:
        with pytest.raises(UserError, match=message):
            predict.run(parser.parse_args([*words, *given]))
    assert not Path("refused").exists()


def test_predict_refuses_tokens_of_another_kind(away: Path) -> None:
    """Here of another resolution; the slide and its file are named, and nothing is left."""
    shutil.copy(away / RESULTS / "cohorts/away/tokens/s20.h5", away / "s20.h5")
    with h5py.File(away / "s20.h5", "r+") as file:
        file["features"].attrs["requested_mpp"] = 0.25
    run = run_predict(away, "--task", "dx_away", "--head", "abmil", "--out", "refused", "s20.h5")
    assert run.returncode == 2
    assert re.search("slide s20: its tokens in .* requested_mpp is 0.25, expected 0.5; encode the slide", run.stderr)
    assert not (away / "refused").exists()


def test_cohorts_with_the_same_patients_or_slides_do_not_start(away: Path) -> None:
    """One error before any job, naming patients; ids of other patients are refused too."""
    sheet = away / "away.csv"
    whole = sheet.read_text()
    try:
        sheet.write_text(whole.replace(",p20,", ",p3,"))
        run = toy.snakemake(away, "--dry-run", *toy.edited(away, external.with_away))
        assert run.returncode and "1 patients of its test_cohort away are also in cohort toy" in run.stderr, run.stderr
        assert "p3; remove their slides" in run.stderr
    finally:
        sheet.write_text(whole)


ROWS = [SheetRow(f"s{i}", "f", f"p{i}", None, {"class": f"c{i % 2}"}) for i in range(4)]


def task(**changes: object) -> object:
    return class_task().model_copy(update={"test_cohort": "away"} | changes)


def test_patients_without_a_label_are_refused_too() -> None:
    """The encoder has learnt on them; where the external slide has no label, it is not in the task."""
    unlabelled = SheetRow("t0", "f", "p1", None, {"class": ""})
    with pytest.raises(UserError, match="task grade: 1 patients of its test_cohort away are also in cohort demo"):
        external_slides(task(), [unlabelled], ROWS)  # type: ignore[arg-type]
    assert [slide.slide for slide in external_slides(task(), ROWS[:1], [*ROWS[1:], unlabelled])] == [  # type: ignore[arg-type]
        "s1",
        "s2",
        "s3",
    ]


def test_slides_of_one_id_or_without_labels_are_refused() -> None:
    other = SheetRow("s1", "g", "q", None, {"class": "c1"})
    with pytest.raises(UserError, match="1 slide ids are in cohorts demo and away, of different patients: s1"):
        external_slides(task(), [other], ROWS)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no usable slide of its test_cohort away has a label; fill column class"):
        external_slides(task(), ROWS, [SheetRow("t", "f", "q", None, {"class": ""})])  # type: ignore[arg-type]


def test_a_cohort_without_events_is_refused_and_one_of_one_class_is_warned_of() -> None:
    """Without events no metric of survival is defined; with one class, accuracy and specificity are."""
    survival = survival_task().model_copy(update={"test_cohort": "away"})
    censored = [SheetRow(f"t{i}", "f", f"q{i}", None, {"months": "3", "dead": "0"}) for i in range(4)]
    with pytest.raises(UserError, match="task os: no usable slide of its test_cohort away has dead 1, so that no"):
        external_slides(survival, [], censored)
    tested = external_slides(task(), [], ROWS[::2])  # type: ignore[arg-type]
    home = [LabelledSlide(f"h{i}", f"q{i}", f"c{i % 2}") for i in range(8)]
    folds = folds_tested_on(generate_folds(["c0", "c1"], home, class_task().folds), tested)  # type: ignore[arg-type]
    assert fold_warnings(task(), folds) == ["no test slide of class c1 in any fold"]  # type: ignore[arg-type]


def test_generated_folds_keep_their_training_slides_and_test_the_whole_other_cohort() -> None:
    """A slide of the first cohort that a fold would have tested is in no split of it."""
    home = [LabelledSlide(f"h{i}", f"q{i}", f"c{i % 2}") for i in range(8)]
    tested = external_slides(task(), [], ROWS)  # type: ignore[arg-type]
    own = generate_folds(["c0", "c1"], home, class_task().folds)  # type: ignore[arg-type]
    folds = folds_tested_on(own, tested)
    assert [fold.test for fold in folds] == [tested, tested]
    assert [(fold.train, fold.val) for fold in folds] == [(fold.train, fold.val) for fold in own]
    assert all(not set(fold.slides) & set(before.test) for fold, before in zip(folds, own, strict=True))


def test_what_a_task_may_say() -> None:
    from slpd.settings.evaluation import task_from_json

    given = external.TASK
    assert task_from_json(json.dumps(given)).cohorts == ["toy", "away"]
    with pytest.raises(UserError, match="kind all leaves no slides to test; set test_cohort"):
        task_from_json(json.dumps({**given, "test_cohort": None}))
    with pytest.raises(UserError, match="toy is the cohort that heads are trained on; name another one"):
        task_from_json(json.dumps({**given, "test_cohort": "toy"}))
