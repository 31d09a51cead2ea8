"""Partial reruns: every edit of the rerun table, on a finished run, plans the stages of its row and no others."""

import copy
import hashlib
import os
import shutil
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rerun_table
import toy
import yaml

sys.path.insert(0, str(toy.ROOT / "workflow/scripts"))

import plan as costs
from planning import PlannedJob, make_plan, planned_jobs
from why import report

from slpd.versions import RESULT_VERSIONS

pytestmark = pytest.mark.workflow

CONFIG = rerun_table.start_config()
ON_SLIDES = ["segment_tissue", "tile_regions", "encode_patches"]  # those on slides that others depend on
COMPARED = ["compare_subgroups", "measure_robustness"]  # by columns of the sheet
ENCODER = "results/toy/cohorts/toy/variants/slpd/encoder/region_encoder.safetensors"


@pytest.fixture(scope="module")
def finished(finished_toy: Path) -> Path:
    """A folder in which the config of the rerun table has been run to the end, the toy's before it."""
    folder = finished_toy
    label_more(folder / "slides.csv")
    for name in ("figures.csv", "other_figures.csv"):
        (folder / name).write_text(FIGURES)
    for name in ("given.safetensors", "moved.safetensors"):
        shutil.copy(folder / ENCODER, folder / name)
    digest = hashlib.sha256((folder / "given.safetensors").read_bytes()).hexdigest()
    rerun_table.entry(CONFIG, "variants", "given")["pretrained"]["sha256"] = digest
    for name in ("splits", "other_splits"):
        write_splits(folder / name)
    for name, shape in (("vectors", (6,)), ("bags", (4, 6))):
        write_vectors(folder / name, shape)
        write_vectors(folder / name / "toy", shape)
    (folder / "masks").mkdir()
    for i in range(10):
        (folder / f"masks/s{i}.png").touch()  # only planned with
    (folder / "toy.yaml").write_text(yaml.safe_dump(CONFIG))
    run = toy.snakemake(folder, *PROFILE)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def write_vectors(folder: Path, shape: tuple[int, ...]) -> None:
    """Vectors of all slides, under both keys of the rerun table."""
    folder.mkdir(exist_ok=True)
    for i in range(10):
        with h5py.File(folder / f"s{i}.h5", "w") as file:
            for key in ("features", "feats"):
                file[key] = np.random.default_rng(i).normal(size=shape).astype(np.float32)


PROFILE = ("--workflow-profile", str(toy.ROOT / "workflow/profiles/default"))


FIGURES = "task,variant,head,metric,value,std,source\ndx,given,knn,auc,0.5,0.1,a paper\n"


def label_more(sheet: Path) -> None:
    """Give the sheet a second label column `dy`, two of survival each, sites, and a copy; and a file of kinds."""
    header, *lines = sheet.read_text().splitlines()
    more = [f"{line},{line[-1]},{i},{i % 3 and 1},{10 - i},1,{i // 2}" for i, line in enumerate(lines, 1)]
    sheet.write_text("\n".join([f"{header},dy,months,dead,weeks,relapsed,site", *more]) + "\n")
    shutil.copy(sheet, sheet.with_name("copy.csv"))
    sheet.with_name("kinds.csv").write_text("slide,x_lv0,y_lv0,side_lv0,kind\ns0,0,0,64,fat\n")


def write_splits(folder: Path) -> None:
    """Two folds of the nine slides in HIPT's files."""
    folder.mkdir()
    for fold, test in enumerate((["s0", "s1", "s2", "s3"], ["s4", "s5", "s6", "s7", "s8"])):
        rest = [f"s{i}" for i in range(9) if f"s{i}" not in test]
        columns = (rest[2:], rest[:2], test)
        cells = [[column[i] if i < len(column) else "" for column in columns] for i in range(5)]
        lines = [",train,val,test", *(f"{i},{','.join(row)}" for i, row in enumerate(cells))]
        (folder / f"splits_{fold}.csv").write_text("\n".join(lines) + "\n")


def plan(folder: Path, edit: rerun_table.Edit | None = None) -> list[PlannedJob]:
    """The jobs that a run with an edited config would start."""
    config = copy.deepcopy(CONFIG)
    if edit:
        edit(config)
    (folder / "edited.yaml").write_text(yaml.safe_dump(config))
    return planned_jobs(["--configfile", str(folder / "edited.yaml")], folder)


def stages(jobs: Sequence[PlannedJob]) -> set[str]:
    return {job.rule for job in jobs}


def expected(first: Sequence[str]) -> set[str]:
    return rerun_table.after(first)


def test_nothing_edited_runs_nothing(finished: Path) -> None:
    assert plan(finished) == []


@pytest.mark.parametrize("row", rerun_table.rows(), ids=lambda row: row.key)
def test_edited_key_runs_the_stages_of_its_row(finished: Path, row: rerun_table.Row) -> None:
    assert stages(plan(finished, row.edit)) == row.stages


def test_page_is_up_to_date() -> None:
    assert rerun_table.PAGE.read_text() == rerun_table.page(), "say: make reruns"


# The others have no jobs here: tests/test_import_workflow.py, tests/test_cohorts.py, tests/test_external.py.
@pytest.mark.parametrize("stage", sorted(RESULT_VERSIONS.keys() - {"import_tokens", "join_cohorts", "predict_slides"}))
def test_raised_result_version_runs_its_stage_and_what_follows(
    finished: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RESULT_VERSIONS, stage, RESULT_VERSIONS[stage] + 1)
    assert stages(plan(finished)) == expected([stage])


@contextmanager
def changed(path: Path, *replacements: tuple[str, str], more: str = "") -> Iterator[None]:
    """A text file that is other than it was, and then again as it was."""
    text = path.read_text()
    new = text
    for old, value in replacements:
        assert old in new
        new = new.replace(old, value)
    path.write_text(new + more)
    try:
        yield
    finally:
        path.write_text(text)


def counts(jobs: Sequence[PlannedJob], *rules: str) -> list[int]:
    return [sum(job.rule == rule for job in jobs) for rule in rules]


def test_slide_more(finished: Path) -> None:
    shutil.copy(finished / "slides/s0.tiff", finished / "slides/s10.tiff")
    with changed(finished / "slides.csv", more="s10,slides/s10.tiff,p10,,a,a,5,1,5,1,0\n"):
        jobs = plan(finished)
    assert counts(jobs, "segment_tissue", "tile_regions") == [1, 1]
    assert stages(jobs) == expected(rerun_table.EVERYTHING)


def test_slide_less(finished: Path) -> None:
    with changed(finished / "slides.csv", ("s8,slides/s8.tiff,p8,,a,a,9,0,1,1,4\n", "")):
        jobs = plan(finished, drop_imported)
    assert stages(jobs) == expected(rerun_table.EVERYTHING)


def taken_out(table: str, key: str, name: str) -> rerun_table.Edit:
    """An edit that leaves a variant, a task, a head or a file out of a table."""
    return lambda config: rerun_table.entry(config, "tables", table)[key].remove(name)


@pytest.mark.parametrize(
    ("edit", "first"),
    [
        (taken_out("toy", "variants", "dino"), ["compare_subgroups", "make_table"]),
        (taken_out("toy", "heads", "knn"), ["compare_subgroups", "make_table"]),
        (taken_out("small", "tasks", "imp"), ["make_table"]),
        (taken_out("small", "published", "figures.csv"), ["make_table"]),
        (lambda config: config["tables"].pop(), ["make_report"]),
        (  # trained as `slpd` is
            rerun_table.in_entry("variants", "intra", "objective", value={}),
            ["evaluate", "measure_robustness"],
        ),
    ],
    ids=["variant", "head", "task", "figures", "table", "training"],
)
def test_less_in_the_config(finished: Path, edit: rerun_table.Edit, first: list[str]) -> None:
    """No input is newer: what is left of them is not what it was."""
    assert stages(plan(finished, edit)) == expected(first)


def test_split_file_less(finished: Path) -> None:
    with moved(finished / "splits/splits_1.csv"):
        jobs = plan(finished)
    assert stages(jobs) == expected(["split_folds"])
    assert counts(jobs, "split_folds") == [1]


@contextmanager
def moved(path: Path) -> Iterator[Path]:
    """A file that lies elsewhere, its time as it was, and then again where it was."""
    elsewhere = path.parent.with_name(f"moved_{path.name}")
    path.rename(elsewhere)
    try:
        yield elsewhere
    finally:
        elsewhere.rename(path)


def test_slide_moved(finished: Path) -> None:
    with (
        moved(finished / "slides/s3.tiff") as elsewhere,
        changed(finished / "slides.csv", ("slides/s3.tiff", elsewhere.name)),
    ):
        jobs = plan(finished)
    assert counts(jobs, "segment_tissue", "tile_regions") == [1, 1]
    assert stages(jobs) == expected(rerun_table.EVERYTHING)


def drop_imported(config: dict[str, Any]) -> None:
    """Imported folds that name a slide which is gone are refused."""
    config["tasks"] = [task for task in config["tasks"] if task["name"] != "imp"]
    for table in config["tables"]:
        table["tasks"] = [task for task in table["tasks"] if task != "imp"]


def test_slide_replaced(finished: Path) -> None:
    slide = finished / "slides/s3.tiff"
    content = slide.read_bytes()
    slide.write_bytes(content + b"\0")
    try:
        jobs = plan(finished)
    finally:
        slide.write_bytes(content)
    assert counts(jobs, "segment_tissue", "tile_regions") == [1, 1]
    assert stages(jobs) == expected(rerun_table.EVERYTHING)


def test_slides_and_weights_copied_or_touched_run_nothing(finished: Path) -> None:
    for path in [*finished.glob("slides/*.tiff"), finished / "given.safetensors", finished / "slides.csv"]:
        os.utime(path)
    assert plan(finished) == []


def test_resolution_of_a_slide(finished: Path) -> None:
    with changed(finished / "slides.csv", ("s3,slides/s3.tiff,p3,,", "s3,slides/s3.tiff,p3,0.5,")):
        jobs = plan(finished)
    assert counts(jobs, "segment_tissue", "tile_regions") == [1, 1]
    assert stages(jobs) == expected(rerun_table.EVERYTHING)


def column(sheet: Path, name: str, **cells: str) -> list[tuple[str, str]]:
    """Replacements that give a sheet another column, empty but for the cells of some slides."""
    header, *lines = sheet.read_text().splitlines()
    rows = [(f"{line}\n", f"{line},{cells.get(line.split(',')[0], '')}\n") for line in lines]
    return [(f"{header}\n", f"{header},{name}\n"), *rows]


def test_mask_of_a_slide(finished: Path) -> None:
    (finished / "mask.png").write_bytes(b"a mask")
    with changed(finished / "slides.csv", *column(finished / "slides.csv", "mask", s3="mask.png")):
        jobs = plan(finished)
    assert counts(jobs, "segment_tissue", "tile_regions") == [1, 1]
    assert stages(jobs) == expected(rerun_table.EVERYTHING)


def test_label_of_a_slide(finished: Path) -> None:
    with changed(finished / "slides.csv", ("p8,,a,a", "p8,,,a")):
        jobs = plan(finished, drop_imported)
    assert stages(jobs) == expected(["split_folds", "test_graph", *COMPARED])


def test_column_more(finished: Path) -> None:
    lines = (finished / "slides.csv").read_text().splitlines()
    more = [f"{line},{'scanner' if not number else number % 3}" for number, line in enumerate(lines)]
    with changed(finished / "slides.csv", *zip(lines, more, strict=True)):
        jobs = plan(finished)
    assert stages(jobs) == expected(["split_folds", "test_graph", *COMPARED])


def test_order_of_lines(finished: Path) -> None:
    _, *lines = (finished / "slides.csv").read_text().splitlines()
    with changed(finished / "slides.csv", ("\n".join(lines), "\n".join(reversed(lines)))):
        jobs = plan(finished, drop_imported)
    assert stages(jobs) == expected(["split_folds"])


def test_published_figure(finished: Path) -> None:
    with changed(finished / "figures.csv", ("0.5", "0.6")):
        jobs = plan(finished)
    assert stages(jobs) == expected(["make_table"])
    assert counts(jobs, "make_table") == [1]


def test_weights_that_are_no_longer_at_hand(finished: Path) -> None:
    jobs = plan(finished, rerun_table.in_entry("variants", "given", "pretrained", "checkpoint", value=None))
    assert stages(jobs) == expected(["compare_subgroups", "make_table"])


def test_comment_and_order_run_nothing(finished: Path) -> None:
    reordered = yaml.safe_dump(dict(reversed(CONFIG.items())), sort_keys=False)
    (finished / "edited.yaml").write_text(f"# a comment\n{reordered}")
    assert planned_jobs(["--configfile", str(finished / "edited.yaml")], finished) == []


def test_other_branch_other_code_and_other_resources_run_nothing(finished: Path, tmp_path: Path) -> None:
    """A copy of the repository with other times, comments in the code and other text in a rule."""
    for name in ("slpd", "workflow", "config", "envs", "slurm"):
        shutil.copytree(toy.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(toy.ROOT / "Snakefile", tmp_path)
    for path in tmp_path.glob("slpd/stages/*.py"):
        path.write_text(f"{path.read_text()}\n# a comment\n")
    rules = tmp_path / "workflow/rules/slides.smk"
    rules.write_text(
        rules.read_text().replace("runtime=10", "runtime=20").replace("exec python -m slpd", "exec python  -m slpd")
    )
    environment = tmp_path / "envs/slpd.yaml"
    environment.write_text(f"{environment.read_text()}\n# a comment\n")
    resources = ["--set-resources", "evaluate:mem_mb=1", "distill_slpd:gpu=2", "--set-threads", "pretrain_dino=1"]
    command = [sys.executable, "-m", "snakemake", "-s", str(tmp_path / "Snakefile"), "--configfile", "toy.yaml"]
    profile = ["--workflow-profile", str(tmp_path / "workflow/profiles/default")]
    run = subprocess.run(
        [*command, *profile, *resources, "--dry-run"],
        cwd=finished,
        env=toy.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Nothing to be done" in run.stdout + run.stderr


def test_what_leaves_the_used_slides_as_they_are_trains_nothing(finished: Path, tmp_path: Path) -> None:
    """One slide that is left out less and one more, and another order of lines: Snakemake plans all that follows."""
    folder = tmp_path / "edited"
    shutil.copytree(finished, folder, symlinks=True)
    (folder / "slides/s10.tiff").write_bytes(b"no slide either")
    header, *lines = (folder / "slides.csv").read_text().splitlines()
    (left_out,) = (line for line in lines if line.startswith("s9,"))
    lines[lines.index(left_out)] = left_out.replace("s9", "s10").replace("p9", "p10")
    (folder / "slides.csv").write_text("\n".join([header, *reversed(lines)]) + "\n")
    results = folder / "results/toy"
    variants = results / "cohorts/toy/variants"
    trained = [
        *(results / "cohorts/toy/warmup").glob("*"),
        *(variants / name / file for name in ("dino", "slpd") for file in ("teacher.safetensors", "bags.h5")),
        *(results / "tasks/dx/slpd/knn").glob("*"),
    ]
    before = {path: path.stat().st_mtime_ns for path in trained}
    logs = {path: path.stat().st_mtime_ns for path in (folder / "logs/toy").rglob("*.log")}
    targets = [str(path.relative_to(folder)) for path in trained if path.name in ("bags.h5", "predictions.csv")]
    run = toy.snakemake(folder, *PROFILE, *targets)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "jobs are left out: what they read is what it was" in run.stdout + run.stderr
    assert {path: path.stat().st_mtime_ns for path in trained} == before
    ran = [path for path, time in logs.items() if path.stat().st_mtime_ns != time]
    stages_run = Counter(path.relative_to(folder / "logs/toy").parts[0] for path in ran)
    assert stages_run == dict.fromkeys([*ON_SLIDES, "check_cohort", "cohort_manifest", "split_folds"], 1)
    (encoding,) = (path for path in ran if "encode_patches" in path.parts)
    assert encoding.read_text().count(": unchanged") == 9, "the one job that asks for a GPU encodes nothing"
    manifest = (results / "cohorts/toy/slides.csv").read_text()
    assert "\ns10,slides/s10.tiff,failed," in manifest and "\ns9," not in manifest
    # Another label, and a file that a killed run has not ended: these are made again, and nothing else.
    text = (folder / "slides.csv").read_text()
    line = next(line for line in text.splitlines() if line.startswith("s5,"))
    assert ",p5,,b," in line
    text = text.replace(line, line.replace(",p5,,b,", ",p5,,a,"))
    (folder / "slides.csv").write_text(text.replace("s10", "s11").replace("p10", "p11"))
    (folder / "slides/s11.tiff").write_bytes(b"no slide either")
    half_made = f"{(variants / 'dino/bags.h5').relative_to(folder)}"
    marker = folder / ".snakemake/incomplete" / urlsafe_b64encode(half_made.encode()).decode()
    marker.write_text('{"external_jobid": null}')
    run = toy.snakemake(folder, *PROFILE, *targets)
    assert run.returncode == 0, run.stdout + run.stderr
    after = {path: path.stat().st_mtime_ns for path in trained}
    renewed = {path for path in trained if after[path] != before[path]}
    assert renewed >= {variants / "dino/bags.h5", results / "tasks/dx/slpd/knn/predictions.csv"}
    assert not renewed & {*(results / "cohorts/toy/warmup").glob("*"), variants / "slpd/bags.h5"}


# ---- why -----------------------------------------------------------------------------------------------------------


def test_why_names_the_edited_keys_with_old_and_new_values(finished: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["training"]["learning_rate"] = 1e-3
        rerun_table.entry(config, "heads", "knn")["k"] = 2

    lines = list(report(plan(finished, edit)))
    (learning,) = (line for line in lines if line.startswith("pretrain_dino "))
    assert learning.split()[1:] == ["1", "training.learning_rate:", "0.0005", "->", "0.001"]
    (head,) = (line for line in lines if line.startswith("evaluate "))
    assert "heads.knn.k: 1 -> 2" in head
    (table,) = (line for line in lines if line.startswith("make_table "))
    assert table.endswith("follows a stage above")


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("cohorts/toy/tissue/s3.png", "segment_tissue"),
        ("cohorts/toy/tissue/batches/0.json", "segment_tissue"),
        ("cohorts/toy/regions/s3.csv", "tile_regions"),
        ("cohorts/toy/regions/overlays/s9.jpg", "tile_regions"),
        ("cohorts/toy/pictures/s3.jpg", "picture_regions"),
        ("cohorts/toy/tokens/s3.h5", "encode_patches"),
        ("cohorts/toy/slides.csv", "cohort_manifest"),
        ("cohorts/toy/used.txt", "cohort_manifest"),
        ("cohorts/toy/warmup/checkpoint.pt", "pretrain_dino"),
        ("cohorts/toy/variants/slpd/embeddings.h5", "collect_iterations"),
        ("cohorts/toy/variants/slpd/graph.npz", "link_slides"),
        ("cohorts/toy/variants/slpd/prototypes.npz", "cluster_regions"),
        ("cohorts/toy/variants/slpd/bags.h5", "embed_bags"),
        ("cohorts/toy/variants/slpd/encoder/region_encoder.safetensors", "export_encoder"),
        ("tasks/dx/folds.csv", "split_folds"),
        ("tasks/dx/slpd/knn/predictions.csv", "evaluate"),
    ],
)
def test_a_result_that_is_gone_is_made_again(finished: Path, path: str, rule: str) -> None:
    """Though all that it led to is there; `make why` names it."""
    name = f"results/toy/{path}"
    kept = (finished / name).rename(finished / "kept")
    lines = list(report(plan(finished)))
    kept.rename(finished / name)
    assert any(line.split()[0] == rule and line.endswith(f"gone: {name}") for line in lines), lines


def test_why_groups_slides_of_the_same_cause(finished: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        config.setdefault("report", {})["picture_px"] = 64

    lines = [line for line in report(plan(finished, edit)) if line.startswith("picture_regions")]
    assert lines == ["picture_regions       1  picture_px: 256 -> 64"]


def test_why_names_slides_files_and_versions(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with changed(finished / "slides.csv", ("p3,,", "p3,0.5,"), ("p8,,a", "p8,,")):
        lines = list(report(plan(finished, drop_imported)))
    assert any(line.endswith("mpp of slide s3: nothing -> 0.5") for line in lines)
    assert lines[0].endswith("those that only follow cohort_manifest and split_folds may be left out")
    monkeypatch.setitem(RESULT_VERSIONS, "embed_bags", 7)
    lines = list(report(plan(finished)))
    assert any("result version of embed_bags: 1 -> 7" in line for line in lines)
    monkeypatch.undo()
    (finished / "results/toy/tables/toy.csv").rename(finished / "toy.csv")
    lines = list(report(plan(finished)))
    (finished / "toy.csv").rename(finished / "results/toy/tables/toy.csv")
    assert lines == [
        "2 jobs would run",
        "make_table            1  gone: results/toy/tables/toy.csv",
        "make_report           1  follows a stage above",
    ]


def test_why_names_files_that_are_read_no_longer_or_now(finished: Path) -> None:
    with changed(finished / "slides.csv", ("s8,slides/s8.tiff,p8,,a,a,9,0,1,1,4\n", "")):
        lines = list(report(plan(finished, drop_imported)))
    (tissue,) = (line for line in lines if line.startswith("segment_tissue "))
    assert tissue.endswith("1  slides less: s8")
    lines = list(report(plan(finished, lambda config: config["tables"].pop())))
    assert lines[0] == "1 job would run"
    assert "reads no longer: results/toy/tables/survival.csv" in lines[1]
    more = {"name": "more", "tasks": ["dx"], "variants": ["mean"], "heads": ["knn"], "metrics": ["auc"], "caption": ""}
    lines = list(report(plan(finished, lambda config: config["tables"].append(more))))
    (pages,) = (line for line in lines if line.startswith("make_report "))
    assert "reads now: results/toy/tables/more.csv" in pages
    assert not any("digest" in line for line in lines)


def test_why_is_a_command(finished: Path) -> None:
    program = [sys.executable, str(toy.ROOT / "workflow/scripts/why.py"), "--configfile", "toy.yaml"]
    run = subprocess.run(program, cwd=finished, env=toy.environment(), capture_output=True, text=True, check=True)
    assert run.stdout == "Nothing would run: every result is as the config asks.\n"
    (finished / "wrong.yaml").write_text("training: {epoch: 3}\n")
    run = subprocess.run(
        [*program, "wrong.yaml"], cwd=finished, env=toy.environment(), capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert "unknown key, did you mean 'epochs'?" in run.stderr


# ---- plan ----------------------------------------------------------------------------------------------------------


def costs_of(folder: Path, *arguments: str) -> dict[str, list[str]]:
    """Stage -> the other words of its line."""
    profile = ["--profile", str(toy.ROOT / "slurm"), "--configfile", str(folder / "toy.yaml")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        lines = list(costs.table(make_plan([*profile, *arguments], folder)))
    return {line.split()[0]: line.split()[1:] for line in lines}


def test_plan_of_a_finished_experiment_uses_its_own_benchmarks(finished: Path) -> None:
    lines = costs_of(finished, "--forceall")
    assert lines["segment_tissue"][:2] == ["1", "1"]  # jobs, submitted: the stages of a batch share one
    assert lines["tile_regions"][:2] == ["1", "same"]
    assert lines["pretrain_dino"][-2:] == ["own", "benchmarks"]
    jobs, submitted = int(lines["all"][0]), int(lines["all"][1])
    assert jobs == sum(int(words[0]) for stage, words in lines.items() if stage not in ("stage", "all"))
    slides, blocks = 2, 4 + 2  # cluster, link and distil as one, in two iterations of slpd; without link, of intra
    trained, in_the_head = 2, 3  # cluster and link once more, of both; collect_iterations of three variants
    assert submitted == jobs - slides - blocks - trained - in_the_head


def test_a_plan_says_once_what_a_run_may_leave_out(
    finished: Path, tmp_path: Path, make_slide: toy.MakeSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slide less, which may or may not have been used; not where all is asked for, or nothing is there yet."""
    said = "those that only follow cohort_manifest and split_folds may be left out"
    monkeypatch.chdir(finished)
    with changed(finished / "slides.csv", ("s9,slides/s9.tiff,p9,,b,b,10,1,0,1,5\n", "")):
        edited = make_plan(["--configfile", str(finished / "toy.yaml")], finished)
    lines = list(costs.table(edited))
    assert lines[-1] == f"of these jobs, {said}"
    assert sum("left out" in line for line in lines) == 1
    assert next(report(edited.jobs)).endswith(f"; {said}")
    everything = make_plan(["--configfile", str(finished / "toy.yaml"), "--forceall"], finished)
    toy.make_toy(tmp_path, make_slide)
    monkeypatch.chdir(tmp_path)
    for new in (everything, make_plan(["--configfile", str(tmp_path / "toy.yaml")], tmp_path)):
        assert not any("left out" in line for line in [*costs.table(new), *report(new.jobs)])


def test_plan_of_a_new_experiment_is_estimated_from_the_sizes_of_its_slides(
    tmp_path: Path, make_slide: toy.MakeSlide, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.make_toy(tmp_path, make_slide)
    for i in range(10):
        os.truncate(tmp_path / f"slides/s{i}.tiff", 1_500_000_000)  # a hundred regions each
    lines = costs_of(tmp_path)
    assert lines["encode_patches"][-1] == "throughput.yaml"
    token_bytes = 10 * 100 * 16**2 * 384 * 2
    assert lines["encode_patches"][4:6] == [f"{token_bytes / 1e9:.1f}", "GB"]
    assert float(lines["encode_patches"][2]) == round(
        1000 * costs.STORED["encode_patches"]["gpu_s_per_region"] / 3600, 1
    )


def test_plan_tells_variants_apart(tmp_path: Path, make_slide: toy.MakeSlide, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain DINO has no prototypes to renew, and the cheaper epochs; who renews rarely embeds less often."""
    config = copy.deepcopy(toy.TOY)
    config["training"].update(epochs=101, dino_epochs=1, epochs_per_iteration=10)
    config["variants"] += [{"name": "often", "epochs_per_iteration": 1}, {"name": "mean", "token_mean": True}]
    config["variants"].append({"name": "patches", "patch_tokens": True})
    config["tables"][0]["variants"] = ["dino", "slpd", "often", "mean", "patches"]
    toy.make_toy(tmp_path, make_slide, config)
    for i in range(10):
        os.truncate(tmp_path / f"slides/s{i}.tiff", 1_500_000_000)  # a hundred regions each
    monkeypatch.chdir(tmp_path)
    plan = make_plan(["--configfile", str(tmp_path / "toy.yaml")], tmp_path)
    seconds = Counter[str]()
    for job in plan.jobs:
        if job.rule == "distill_slpd":
            seconds[job.wildcards["variant"]] += costs.ESTIMATES["distill_slpd"](job, plan).gpu_s
    dino, slpd, embedding = (
        costs.STORED[stage][f"gpu_s_per_region{unit}"]
        for stage, unit in (("pretrain_dino", "_epoch"), ("distill_slpd", "_epoch"), ("embed_bags", ""))
    )
    assert seconds == pytest.approx(
        {
            "dino": 1000 * (100 * dino + 10 * embedding),  # every iteration is a job, which embeds at its end
            "slpd": 1000 * (100 * slpd + 10 * embedding),
            "often": 1000 * (100 * slpd + 100 * embedding),
        }
    )
    (pooled,) = (job for job in plan.jobs if job.rule == "pool_tokens")
    assert costs.ESTIMATES["pool_tokens"](pooled, plan).n_bytes == 1000 * 4 * 384
    (bagged,) = (job for job in plan.jobs if job.rule == "bag_patches")
    assert costs.ESTIMATES["bag_patches"](bagged, plan).n_bytes == 1000 * 16**2 * (2 * 384 + 2 * 8)
    evaluations = {tuple(job.wildcards.values()): job for job in plan.jobs if job.rule == "evaluate"}
    on_regions, on_patches = (
        costs.ESTIMATES["evaluate"](evaluations["dx", name, "abmil"], plan) for name in ("mean", "patches")
    )
    steps = 1000 * 16**2 * 3 * 2  # patches, epochs, folds
    assert on_patches.cpu_s - on_regions.cpu_s == pytest.approx(
        steps * costs.STORED["evaluate"]["cpu_s_per_patch_step"]
    )


def test_nothing_to_run_costs_nothing(finished: Path) -> None:
    assert costs_of(finished)["all"][0] == "0"


def test_what_is_there_wants_no_more_disk(finished: Path) -> None:
    """Though what the queue is asked for is that of all jobs."""
    plan = make_plan(["--configfile", str(finished / "toy.yaml")], finished, every=True)
    assert costs.n_bytes_wanted(plan) == 0
    assert stages(plan.jobs) == stages(
        planned_jobs(["--configfile", str(finished / "toy.yaml"), "--forceall"], finished)
    )
