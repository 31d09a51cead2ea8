"""Before GPU time is spent: too many failures, too few regions, tasks without folds; and what costs only its cells."""

import argparse
import copy
from dataclasses import replace
from pathlib import Path

import pytest
import rerun_table
import toy

from slpd.artifacts.slides.finished_slide import FinishedSlide, write_batch
from slpd.artifacts.slides.sheet import SheetRow
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.cohort_check import CohortPlan, check_cohort
from slpd.errors import UserError
from slpd.settings.evaluation import ClassTask, GeneratedFolds, ImportedFolds, SurvivalTask
from slpd.settings.heads import KnnHead
from slpd.settings.load import load_experiment
from slpd.stages import check_cohort as stage

TASK = ClassTask(
    name="t",
    cohort="c",
    label="dx",
    classes=["a", "b"],
    folds=GeneratedFolds(kind="generated", n_folds=2, validation_fraction=0.2, seed=0),
)
SHEET = [SheetRow(f"s{i}", f"s{i}.svs", f"p{i}", None, {"dx": "ab"[i % 2]}) for i in range(8)]
GOOD = [SlideRecord(slide=row.slide, path=row.path, n_regions=5 + i) for i, row in enumerate(SHEET)]


def plan(max_failed_fraction: float = 0.25, least: int = 4, batch_size: int = 16) -> CohortPlan:
    return CohortPlan(
        cohort="c",
        max_failed_fraction=max_failed_fraction,
        batch_sizes={"training.batch_size": batch_size},
        min_regions={"slpd": least, "intra": least},
        linked=["slpd"],
        tasks=[TASK],
        heads={"t": [KnnHead(kind="knn", name="near", k=3)]},
    )


def fail(records: list[SlideRecord], *slides: int) -> list[SlideRecord]:
    return [r.failed("segment_tissue", f"slide {r.slide}: torn") if i in slides else r for i, r in enumerate(records)]


def test_good_cohort_reports_its_counts() -> None:
    findings = check_cohort(plan(least=7), fail(GOOD, 0), SHEET)
    assert findings[0] == "7 of 8 slides usable, 63 regions"  # 6 + 7 + ... + 12
    assert "left out at segment_tissue: slide s0: torn" in findings
    assert "variant slpd: 1 slides with fewer than 7 regions get no prototypes" in findings


def test_budget_is_inclusive_and_names_the_failed() -> None:
    check_cohort(plan(), fail(GOOD, 0, 1), SHEET)
    with pytest.raises(
        UserError,
        match=r"3 of 8 slides failed.*allows 0\.25.*segment_tissue: slide s0: torn; segment_tissue: slide s1:",
    ):
        check_cohort(plan(), fail(GOOD, 0, 1, 2), SHEET)


def test_no_slide_left_is_refused_whatever_the_budget() -> None:
    with pytest.raises(UserError, match="8 of 8 slides failed"):
        check_cohort(plan(max_failed_fraction=1.0), fail(GOOD, *range(8)), SHEET)


def test_more_prototypes_than_any_slide_carries_is_refused() -> None:
    message = (
        r"variant slpd: prototypes need 2 slides of prototypes.min_regions = 13 .* 12 in slide s7, 11 in slide s6;"
    )
    with pytest.raises(UserError, match=message):
        check_cohort(plan(least=13), GOOD, SHEET)


def test_an_inter_slide_term_needs_two_slides_with_prototypes() -> None:
    with pytest.raises(UserError, match=r"variant slpd: prototypes need 2 slides"):
        check_cohort(plan(least=12), GOOD, SHEET)  # s7 alone has as many
    check_cohort(plan(least=12).model_copy(update={"linked": []}), GOOD, SHEET)


def test_task_is_checked_on_the_usable_slides() -> None:
    with pytest.raises(UserError, match=r"task t: class b has 1 patients, fewer than the 2 folds"):
        check_cohort(plan(max_failed_fraction=0.5), fail(GOOD, 1, 3, 5), SHEET)


def test_cohort_smaller_than_a_batch_is_refused() -> None:
    check_cohort(plan(batch_size=68), GOOD, SHEET)  # 5 + 6 + ... + 12
    with pytest.raises(UserError, match=r"cohort c: 68 regions are fewer than training.batch_size = 69; lower it"):
        check_cohort(plan(batch_size=69), GOOD, SHEET)


def copied(n_bytes: int = 7) -> list[SlideRecord]:
    """GOOD, with the content of s2 in s3, too, of 7 bytes and of so many."""
    found = [record.model_copy(update={"content": f"hash {i}", "n_bytes": 7}) for i, record in enumerate(GOOD)]
    found[3] = found[3].model_copy(update={"content": "hash 2", "n_bytes": n_bytes})
    return found


def test_copies_of_one_slide_under_two_patients_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"slides of different patients are copies of one file: s2 \(p2\) and s3 \(p3\);"
    ):
        check_cohort(plan(), copied(), SHEET)
    one_patient = [replace(row, patient="p2") if row.slide == "s3" else row for row in SHEET]
    told = "slides s2 and s3 have the same content; keep one line"
    assert told in check_cohort(plan(), copied(), one_patient)
    assert told in check_cohort(plan(), copied(n_bytes=8), SHEET)  # without its label, say
    assert told not in check_cohort(plan(max_failed_fraction=0.5), fail(copied(), 3), SHEET)


# ---- the stage: folds and heads ------------------------------------------------------------------------------------


def run_stage(folder: Path, *tasks: ClassTask | SurvivalTask, **k: int) -> list[str]:
    """What the stage finds of eight good slides, months 1 to 8 and three events among them; task -> k of its head."""
    events = [1, 1, 0, 0, 1, 0, 0, 0]
    lines = [f"{r.slide},{r.path},{r.patient},0.5,{r.labels['dx']},{i + 1},{events[i]}" for i, r in enumerate(SHEET)]
    (folder / "sheet.csv").write_text("\n".join(["slide,path,patient,mpp,dx,months,event", *lines]) + "\n")
    batches = [folder / "0.json", folder / "1.json"]
    for path, records in zip(batches, (GOOD[5:], GOOD[:5]), strict=True):
        write_batch(path, [FinishedSlide(fingerprint="f", record=record) for record in records])
    heads = {task: [KnnHead(kind="knn", name=f"knn_{task}", k=number)] for task, number in k.items()}
    asked = plan().model_copy(update={"tasks": list(tasks), "heads": heads})
    command = ["--sheet", f"{folder}/sheet.csv", "--records", *map(str, batches), "--plan", asked.model_dump_json()]
    parser = argparse.ArgumentParser()
    stage.add_arguments(parser)
    stage.run(parser.parse_args([*command, "--out", str(folder / "check.txt")]))
    return (folder / "check.txt").read_text().splitlines()


def imported(folder: Path, *trained: str) -> ImportedFolds:
    """Folds that train on these slides, separated by spaces, and test on s6 and s7."""
    for number, names in enumerate(trained):
        rows = [f"{slide},,{test}" for slide, test in zip(names.split(), ["s6", "s7", *[""] * 8], strict=False)]
        (folder / f"splits_{number}.csv").write_text("\n".join(["train,val,test", *rows]) + "\n")
    return ImportedFolds(kind="imported", folder=str(folder), allow_patient_overlap=False)


def test_a_head_that_wants_more_slides_than_a_fold_trains_on_costs_its_cells(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = TASK.model_copy(update={"folds": imported(tmp_path, "s0 s1 s2", "s0 s1")})
    assert not [line for line in run_stage(tmp_path, task, t=2) if "no figures" in line]
    assert caplog.records == []
    warning = (
        "task t, head knn_t: its cells will have no figures: head knn_t: k is 3, but fold 1 has 2 training slides"
        "; lower k of the head"
    )
    assert run_stage(tmp_path, task, t=3)[-1] == warning
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [warning]


def test_cases_of_a_patient_task_are_its_patients(tmp_path: Path) -> None:
    task = TASK.model_copy(update={"level": "patient", "folds": imported(tmp_path, "s0 s1 s2")})
    assert "no figures" not in run_stage(tmp_path, task, t=3)[-1]
    assert "fold 0 has 3 training patients" in run_stage(tmp_path, task, t=4)[-1]


def test_too_few_events_for_the_intervals_of_time_cost_the_cells_of_every_head(tmp_path: Path) -> None:
    folds = imported(tmp_path, "s0 s1 s4 s5", "s0 s1 s2 s3")  # three events, two
    task = SurvivalTask(name="os", cohort="c", kind="survival", time="months", event="event", n_bins=3, folds=folds)
    assert run_stage(tmp_path, task, os=1)[-1] == (
        "task os, head knn_os: its cells will have no figures: task os, fold 1: 2 training events at 2 different times"
        " cannot be cut into n_bins = 3 intervals; lower n_bins of the task or use fewer folds"
    )


def test_only_heads_that_a_table_evaluates_on_a_task_are_looked_at(tmp_path: Path) -> None:
    folds = imported(tmp_path, "s0 s1 s2 s3 s5", "s0 s1")
    tasks = [TASK.model_copy(update={"name": name, "folds": folds}) for name in ("t", "u")]
    found = run_stage(tmp_path, *tasks, u=5)
    assert [line.split(":")[0] for line in found if "no figures" in line] == ["task u, head knn_u"]


def test_a_fold_that_nothing_can_be_learned_from_is_refused(tmp_path: Path) -> None:
    task = TASK.model_copy(update={"folds": imported(tmp_path, "s0 s1", "s0 s2")})
    with pytest.raises(UserError, match="task t, fold 1: all 2 training slides are of class a"):
        run_stage(tmp_path, task, t=1)
    assert not (tmp_path / "check.txt").exists()


def test_a_class_that_a_fold_does_not_train_is_reported(tmp_path: Path) -> None:
    rows = [SheetRow(**{**vars(r), "labels": {"dx": "abc"[min(i, 2)]}}) for i, r in enumerate(SHEET)]
    task = TASK.model_copy(update={"classes": ["a", "b", "c"], "folds": imported(tmp_path, "s0 s1 s2", "s0 s2")})
    assert stage.task_warnings(task, rows, []) == [
        "task t: class b has no training slide in 1 of 2 folds (1), where heads cannot learn it",
        "task t: no test slide of class a in any fold",
        "task t: no test slide of class b in any fold",
    ]


def test_what_is_asked_of_a_cohort_comes_from_all_that_is_trained_and_tested_on_it() -> None:
    config = copy.deepcopy(toy.TOY)
    config["cohorts"].append({"name": "idle", "sheet": "idle.csv"})
    config["variants"].append({"name": "intra", "objective": {"inter": 0}, "prototypes": {"min_regions": 7}})
    config["tables"][0]["variants"].append("intra")
    experiment = load_experiment(rerun_table.merged(config))
    used, idle = (CohortPlan.of(experiment, cohort) for cohort in experiment.cohorts)
    assert (used.batch_sizes, used.min_regions, used.linked) == (
        {"training.batch_size": 16},
        {"slpd": 4, "intra": 7},
        ["slpd"],
    )
    assert ([task.name for task in used.tasks], [head.name for head in used.heads["dx"]]) == (["dx"], ["abmil", "knn"])
    assert (idle.batch_sizes, idle.min_regions, idle.linked, idle.tasks, idle.heads) == ({}, {}, [], [], {})
    assert used.max_failed_fraction == 0.2
