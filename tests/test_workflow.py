"""The workflow: faults refused before any job, the toy run from slides to table, partial reruns, kills."""

import csv
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import toy
from waiting import wait_until

pytestmark = pytest.mark.workflow

UP_TO_TOKENS = {
    "segment_tissue",
    "tile_regions",
    "picture_regions",
    "check_cohort",
    "encode_patches",
    "cohort_manifest",
}
LEARNED = {"attend_patches", "map_prototypes", "test_graph"}
TRAINING = {
    "pretrain_dino",
    "cluster_regions",
    "link_slides",
    "distill_slpd",
    "collect_iterations",
    "embed_bags",
    "export_encoder",
} | LEARNED
EVALUATION = {"evaluate", "make_table", "make_report"}


@pytest.fixture(scope="module")
def finished(finished_toy: Path) -> Path:
    """A folder in which the toy cohort has been run to the end, undisturbed."""
    return finished_toy


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_table_has_a_row_per_head_and_variant(finished: Path) -> None:
    table = rows(finished / "results/toy/tables/toy.csv")
    assert list(dict.fromkeys((row["head"], row["variant"]) for row in table)) == [
        ("abmil", "dino"),
        ("abmil", "slpd"),
        ("knn", "dino"),
        ("knn", "slpd"),
    ]


def test_broken_slide_is_left_out_by_name_and_reason(finished: Path) -> None:
    manifest = {row["slide"]: row for row in rows(finished / "results/toy/cohorts/toy/slides.csv")}
    assert len(manifest) == 10
    assert [slide for slide, row in manifest.items() if row["status"] != "ok"] == ["s9"]
    assert manifest["s9"]["stage"] == "segment_tissue"
    assert "s9" in manifest["s9"]["reason"]
    caption = (finished / "results/toy/tables/toy.md").read_text()
    assert "9 of 10 slides" in caption
    assert "s9" in caption


def test_every_test_slide_has_one_prediction(finished: Path) -> None:
    for variant in ("dino", "slpd"):
        for head in ("abmil", "knn"):
            predictions = rows(finished / f"results/toy/tasks/dx/{variant}/{head}/predictions.csv")
            assert sorted(row["slide"] for row in predictions) == [f"s{i}" for i in range(9)]


def test_every_job_left_a_log(finished: Path) -> None:
    for stage in (*UP_TO_TOKENS, *TRAINING, *EVALUATION, "split_folds"):
        assert list((finished / "logs/toy" / stage).rglob("*.log")), stage


def test_nothing_half_written_is_left(finished: Path) -> None:
    assert [path for path in finished.rglob("*") if "partial" in path.name or path.suffix == ".resume"] == []


def test_second_run_has_nothing_to_do(finished: Path) -> None:
    assert toy.planned(finished) == {}


def test_every_format_of_a_table_that_is_gone_is_made_again(finished: Path) -> None:
    for name in ("toy.csv", "toy_differences.csv", "toy.md", "toy.tex", "toy.html"):
        path = finished / "results/toy/tables" / name
        kept = path.rename(finished / name)
        planned = toy.planned(finished, "--", "tables")
        kept.rename(path)
        assert planned == {"make_table": 1}, name


def test_the_workflows_own_report_holds_table_and_pages_with_all_they_link_to(finished: Path) -> None:
    run = toy.snakemake(finished, "--report", "report.zip")
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(finished / "report.zip") as archive:
        names = set(archive.namelist())
        (opened,) = (name for name in names if name.endswith("/index.html"))
        page = archive.read(opened).decode()
    folder = opened.rpartition("/")[0]
    links = set(re.findall(r'(?:href|src)="([^"#:]+)"', page))
    assert {"index.html", "slides-toy.html", "training-toy.html", "results-toy.html", "assets/report.css"} <= links
    assert not {link for link in links if f"{folder}/{link}" not in names}
    assert any(name.endswith("/toy.html") for name in names)


def changes(section: str, **values: object) -> Callable[[dict[str, Any]], None]:
    """An edit of keys of a section."""

    def edit(config: dict[str, Any]) -> None:
        config.setdefault(section, {}).update(values)

    return edit


def in_list(section: str, name: str, **values: object) -> Callable[[dict[str, Any]], None]:
    """An edit of keys of a named entry of a list."""

    def edit(config: dict[str, Any]) -> None:
        next(entry for entry in config[section] if entry["name"] == name).update(values)

    return edit


def test_edit_of_one_variant_leaves_the_others_alone(finished: Path) -> None:
    arguments = toy.edited(finished, in_list("variants", "slpd", prototypes={"n_prototypes": 3}))
    jobs = toy.planned(finished, *arguments)
    assert (jobs["distill_slpd"], jobs["embed_bags"], jobs["evaluate"]) == (2, 1, 2)  # two iterations of an epoch


def test_an_edited_preset_trains_only_the_heads_that_use_it(finished: Path) -> None:
    def longer(config: dict[str, Any]) -> None:
        config["head_presets"]["modern"].update(epochs=4)

    jobs = toy.planned(finished, *toy.edited(finished, longer))
    assert jobs["evaluate"] == 2  # abmil of two variants, not knn


def more_rows(config: dict[str, Any]) -> None:
    config["variants"] += [
        {"name": "mean", "token_mean": True},
        {"name": "random", "random": {"seed": 1}},
        {"name": "patches", "patch_tokens": True},
        {"name": "lent", "encoder_of": {"cohort": "toy", "variant": "slpd"}},
        {"name": "absent", "pretrained": {"checkpoint": None, "sha256": "0" * 64}},
    ]
    config["tables"].append(
        config["tables"][0]
        | {
            "name": "more",
            "variants": ["slpd", "mean", "random", "patches", "lent", "absent"],
            "heads": ["knn"],
            "published": ["p.csv"],
        }
    )


def test_rows_without_an_encoder_of_their_own(finished: Path) -> None:
    """Mean and all tokens, random weights, the encoder of another variant, absent weights, and a published figure."""
    arguments = toy.edited(finished, more_rows)
    published = finished / "p.csv"
    published.write_text("task,variant,head,metric,value,std,source\ndx,mean,knn,auc,0.7,,Someone 2020\n")
    planned = {"pool_tokens": 1, "bag_patches": 1, "draw_encoder": 1, "embed_bags": 2, "evaluate": 4, "make_table": 1}
    assert toy.planned(finished, *arguments, "--", "tables") == planned
    run = toy.snakemake(finished, *arguments, "--", "tables")
    assert run.returncode == 0, run.stdout + run.stderr
    results = finished / "results/toy"
    variants = results / "cohorts/toy/variants"
    assert (variants / "lent/bags.h5").read_bytes() == (variants / "slpd/bags.h5").read_bytes()
    table = {(row["variant"], row["metric"]): row for row in rows(results / "tables/more.csv")}
    assert table["absent", "auc"]["why"] == "no weights: variants.absent.pretrained.checkpoint is null"
    assert table["mean", "auc"]["published"] == "0.7"
    assert table["lent", "auc"]["mean"] == table["slpd", "auc"]["mean"]
    assert toy.planned(finished, *arguments, "--", "tables") == {}
    published.write_text(published.read_text().replace("0.7", "0.8"))
    assert toy.planned(finished, *arguments, "--", "tables") == {"make_table": 1}


def test_a_variant_that_is_trained_like_another_is_not_trained_again(finished: Path) -> None:
    def twin(config: dict[str, Any]) -> None:
        config["variants"].append({"name": "twin", "slide_graph": {"n_neighbours": 1}})  # as it is without
        config["variants"].append({"name": "borrower", "encoder_of": {"cohort": "toy", "variant": "twin"}})
        config["tables"][0]["variants"] += ["twin", "borrower"]

    jobs = toy.planned(finished, *toy.edited(finished, twin))
    # vectors of `borrower` alone; two heads of each
    assert jobs == {"embed_bags": 1, "evaluate": 4, "make_table": 1, "make_report": 1}


def test_a_variant_that_renews_more_rarely_shares_the_warm_up(finished: Path) -> None:
    def rarely(config: dict[str, Any]) -> None:
        config["variants"].append({"name": "rarely", "epochs_per_iteration": 2})
        config["tables"][0]["variants"].append("rarely")

    jobs = toy.planned(finished, *toy.edited(finished, rarely))
    assert "pretrain_dino" not in jobs
    assert (jobs["distill_slpd"], jobs["embed_bags"], jobs["evaluate"]) == (1, 1, 2)  # one iteration of two epochs


def test_another_preset_trains_again_what_has_prototypes(finished: Path) -> None:
    jobs = toy.planned(finished, *toy.edited(finished, lambda config: config.update(preset="released")))
    assert "pretrain_dino" not in jobs
    assert (jobs["link_slides"], jobs["distill_slpd"], jobs["embed_bags"]) == (3, 2, 1)  # of slpd, not of dino


def pretrained_only(config: dict[str, Any], **pretrained: str) -> None:
    """An edit: the only variant is an encoder that is given."""
    config["variants"] = [{"name": "given", "pretrained": pretrained}]
    config["tables"][0]["variants"] = ["given"]


def test_exported_encoder_of_one_experiment_is_a_variant_of_another(finished: Path) -> None:
    variants = finished / "results/toy/cohorts/toy/variants"
    weights = shutil.copy(variants / "slpd/encoder/region_encoder.safetensors", finished / "given.safetensors")
    digest = hashlib.sha256(Path(weights).read_bytes()).hexdigest()
    edit = partial(pretrained_only, checkpoint="given.safetensors", sha256=digest)
    arguments = toy.edited(finished, edit)
    assert set(toy.planned(finished, *arguments)) == {"embed_bags"} | EVALUATION
    target = "results/toy/cohorts/toy/variants/given/bags.h5"
    run = toy.snakemake(finished, *arguments, "--", target)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (finished / target).read_bytes() == (variants / "slpd/bags.h5").read_bytes()
    os.utime(finished / "given.safetensors")  # the same file, copied once more
    assert toy.planned(finished, *arguments, "--", target) == {}
    shutil.copy(finished / "given.safetensors", finished / "moved.safetensors")
    for other in (
        {"checkpoint": "moved.safetensors", "sha256": digest},
        {"checkpoint": "given.safetensors", "sha256": "0" * 64},
    ):
        arguments = toy.edited(finished, partial(pretrained_only, **other))
        assert toy.planned(finished, *arguments, "--", target) == {"embed_bags": 1}
    run = toy.snakemake(finished, *arguments, "--", target)
    assert run.returncode != 0
    log = (finished / "logs/toy/embed_bags/toy/given.log").read_text()
    assert f"error: pretrained.checkpoint given.safetensors: its SHA-256 is {digest}, expected 0000" in log


def test_cohort_of_pretrained_variants_alone_is_not_trained_on(tmp_path: Path, make_slide: toy.MakeSlide) -> None:
    toy.make_toy(tmp_path, make_slide)
    edit = partial(pretrained_only, checkpoint="w.pth", sha256="0" * 64)
    arguments = toy.edited(tmp_path, edit)
    run = toy.snakemake(tmp_path, *arguments, "--dry-run")
    assert "error: variants.given.pretrained.checkpoint: no file w.pth" in run.stderr
    (tmp_path / "w.pth").touch()
    jobs = toy.planned(tmp_path, *arguments)
    assert set(jobs) == UP_TO_TOKENS - {"picture_regions"} | {"embed_bags", "split_folds"} | EVALUATION
    printed = toy.snakemake(tmp_path, *arguments, "--dry-run", "--printshellcmds").stdout
    (command,) = (line for line in printed.splitlines() if "slpd check_cohort" in line)
    assert '"batch_sizes":{},"min_regions":{}' in command


def two_tables(config: dict[str, Any]) -> None:
    """An edit: two tasks, each with a table and a head of its own, and a head that no table asks for."""
    (task,), (table,), (abmil, knn) = config["tasks"], config["tables"], config["heads"]
    config["tasks"] = [task, task | {"name": "again"}]
    config["heads"] = [abmil, knn, knn | {"name": "idle"}]
    config["tables"] = [
        table | {"heads": ["abmil"]},
        table | {"name": "other", "tasks": ["again"], "heads": ["knn"]},
    ]


def test_check_cohort_looks_at_the_heads_that_a_table_evaluates_on_each_task(
    tmp_path: Path, make_slide: toy.MakeSlide
) -> None:
    toy.make_toy(tmp_path, make_slide)
    run = toy.snakemake(tmp_path, *toy.edited(tmp_path, two_tables), "--dry-run", "--printshellcmds")
    (command,) = (line for line in run.stdout.splitlines() if "slpd check_cohort" in line)
    words = shlex.split(command)
    plan = json.loads(words[words.index("--plan") + 1])
    assert {task: [head["name"] for head in heads] for task, heads in plan["heads"].items()} == {
        "dx": ["abmil"],
        "again": ["knn"],
    }


def test_the_report_repeats_the_config_files_of_the_command_in_their_order(
    tmp_path: Path, make_slide: toy.MakeSlide
) -> None:
    """The defaults are not among them: the last file named wins."""
    toy.make_toy(tmp_path, make_slide)
    (tmp_path / "more.yaml").write_text("experiment: more\n")
    run = toy.snakemake(tmp_path, "more.yaml", "--dry-run", "--printshellcmds")
    assert run.returncode == 0, run.stderr
    assert " --configfiles toy.yaml more.yaml --gpus " in run.stdout


def test_label_of_one_slide_trains_nothing_again(finished: Path) -> None:
    sheet = finished / "slides.csv"
    text = sheet.read_text()
    sheet.write_text(text.replace("p8,,a", "p8,,"))
    try:
        assert set(toy.planned(finished)) == {"split_folds", "test_graph"} | EVALUATION
    finally:
        sheet.write_text(text)


def test_order_of_the_sheet_is_no_reason_to_run(finished: Path) -> None:
    sheet = finished / "slides.csv"
    text = sheet.read_text()
    header, *lines = text.splitlines()
    sheet.write_text("\n".join([header, *reversed(lines)]) + "\n")
    try:
        assert set(toy.planned(finished)) <= {"split_folds"} | EVALUATION  # they read the file; their result is equal
    finally:
        sheet.write_text(text)


def test_edited_split_file_splits_again(finished: Path) -> None:
    folder = finished / "folds"
    folder.mkdir()
    (folder / "splits_0.csv").write_text("train,val,test\ns0,s4,s2\ns1,s5,s3\n")
    folds = {"kind": "imported", "folder": "folds", "allow_patient_overlap": False}
    arguments = toy.edited(finished, in_list("tasks", "dx", folds=folds))
    target = "results/toy/tasks/dx/folds.csv"
    kept = (finished / target).read_bytes()
    try:
        assert toy.snakemake(finished, *arguments, "--", target).returncode == 0
        assert "split_folds" not in toy.planned(finished, *arguments, "--", target)
        (folder / "splits_0.csv").write_text("train,val,test\ns0,s4,s2\ns1,s5,s3\ns6,,s7\n")
        assert set(toy.planned(finished, *arguments, "--", target)) == {"split_folds"}
    finally:
        toy.snakemake(finished, "--", target)
        assert (finished / target).read_bytes() == kept


def test_resolution_of_one_slide_segments_that_slide_again(finished: Path) -> None:
    sheet = finished / "slides.csv"
    text = sheet.read_text()
    sheet.write_text(text.replace("p8,,a", "p8,0.51,a"))
    try:
        jobs = toy.planned(finished)
        assert (jobs["segment_tissue"], jobs["tile_regions"]) == (1, 1)
    finally:
        sheet.write_text(text)


def test_mask_of_one_slide_segments_that_slide_again(finished: Path) -> None:
    sheet, drawn = finished / "slides.csv", finished / "drawn.geojson"
    text = sheet.read_text()
    shutil.copy(finished / "results/toy/cohorts/toy/regions/s8.geojson", drawn)
    header, *lines = text.splitlines()
    masks = ("drawn.geojson" if line.startswith("s8,") else "" for line in lines)
    sheet.write_text("\n".join([f"{header},mask", *map(",".join, zip(lines, masks, strict=True))]) + "\n")
    try:
        jobs = toy.planned(finished)
        assert (jobs["segment_tissue"], jobs["tile_regions"]) == (1, 1)
    finally:
        sheet.write_text(text)
        drawn.unlink()


def test_slide_added_at_the_end_is_the_only_one_segmented(finished: Path) -> None:
    sheet = finished / "slides.csv"
    text = sheet.read_text()
    shutil.copy(finished / "slides/s0.tiff", finished / "slides/s10.tiff")
    sheet.write_text(text + "s10,slides/s10.tiff,p10,,a\n")
    try:
        jobs = toy.planned(finished)
        assert (jobs["segment_tissue"], jobs["tile_regions"]) == (1, 1)
    finally:
        sheet.write_text(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("s1,slides/s1.tiff,p11,,a", "slide s1 is listed twice; keep one line per slide"),
        ("s11,slides.csv,p11,,c", "slide s11 has dx 'c', not one of a, b"),
        ("s11,slides/absent.tiff,p11,,a", "slide s11: no file slides/absent.tiff"),
        ("s11,slides/s1.tiff,p11,,a", "slides s1 and s11 are the same file"),
        ("s11,slides/{x}.tiff,p11,,a", "slide s11: slides/{x}.tiff has braces in it"),
        ("../s11,slides/s1.tiff,p11,,a", "slide id '../s11' is not a safe file name"),
    ],
)
def test_fault_in_the_sheet_stops_before_any_job(finished: Path, line: str, message: str) -> None:
    sheet = finished / "slides.csv"
    text = sheet.read_text()
    sheet.write_text(text + line + "\n")
    try:
        run = toy.snakemake(finished)
    finally:
        sheet.write_text(text)
    assert run.returncode != 0
    errors = [line for line in run.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in run.stderr


def test_misspelt_key_stops_before_any_job(finished: Path) -> None:
    run = toy.snakemake(finished, *toy.edited(finished, changes("training", epoch=3)))
    assert run.returncode != 0
    assert "error: config.training.epoch: unknown key, did you mean 'epochs'?" in run.stderr


def test_cohort_past_its_budget_stops_before_patches_are_encoded(tmp_path: Path, make_slide: toy.MakeSlide) -> None:
    toy.make_toy(tmp_path, make_slide)
    for i in (1, 3):
        (tmp_path / f"slides/s{i}.tiff").write_bytes(b"")
    run = toy.snakemake(tmp_path, "--keep-going")
    assert run.returncode != 0
    log = (tmp_path / "logs/toy/check_cohort/toy.log").read_text()
    assert "error: 3 of 10 slides failed, manifest.max_failed_fraction allows 0.2" in log
    assert all(f"slide s{i}:" in log for i in (1, 3, 9))
    assert not (tmp_path / "results/toy/cohorts/toy/tokens").exists()


def kill_when(folder: Path, log: str, word: str, *arguments: str) -> None:
    """Start the workflow in `folder` and kill every process of it once `word` stands in `log`."""
    process = subprocess.Popen(toy.command(*arguments), cwd=folder, env=toy.environment(), start_new_session=True)
    said = f"{word!r} in {log}"
    wait_until(lambda: any(word in path.read_text() for path in folder.glob(log)), said, process, every=0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_killed_twice_and_started_again_gives_the_same_table(
    finished: Path, tmp_path: Path, make_slide: toy.MakeSlide
) -> None:
    """SIGKILL while patches are encoded and again during distillation; then one plain run to the tables."""
    toy.make_toy(tmp_path, make_slide)
    kill_when(tmp_path, "logs/toy/encode_patches/toy/0.log", "s2")
    assert toy.snakemake(tmp_path, "--unlock").returncode == 0
    tokens = tmp_path / "results/toy/cohorts/toy/tokens"
    finished_tokens = {path: path.stat().st_mtime_ns for path in tokens.glob("s*.h5")}
    assert finished_tokens
    kill_when(tmp_path, "logs/toy/distill_slpd/toy/slpd/002.log", "at once", "--rerun-incomplete")
    assert toy.snakemake(tmp_path, "--unlock").returncode == 0
    run = toy.snakemake(tmp_path, "--rerun-incomplete", "--", "tables")
    assert run.returncode == 0, run.stdout + run.stderr
    assert {path: path.stat().st_mtime_ns for path in finished_tokens} == finished_tokens, "encoded again"
    for name in ("tables/toy.csv", "tables/toy.md", "cohorts/toy/slides.csv", "tasks/dx/slpd/abmil/predictions.csv"):
        assert (tmp_path / "results/toy" / name).read_bytes() == (finished / "results/toy" / name).read_bytes(), name


def test_lint_finds_nothing(finished: Path) -> None:
    run = toy.snakemake(finished, "--lint")
    assert run.returncode == 0, run.stderr


def test_record_of_a_slide_is_json_a_person_can_read(finished: Path) -> None:
    record = json.loads((finished / "results/toy/cohorts/toy/regions/s0.json").read_text())["record"]
    assert (record["slide_mpp"], record["requested_mpp"], record["region_px"]) == (0.5, 0.5, toy.REGION_PX)
