"""Where results lie: the folders that ARCHITECTURE.md lists, as patterns of rules and as paths of files."""

import copy
import re
from pathlib import Path
from typing import Any

import rerun_table
import toy

from slpd.artifacts.outside.split_files import split_files
from slpd.artifacts.slides.sheet import SheetRow, labels_digest, starts_from_tokens
from slpd.inputs import Sheet
from slpd.layout import Layout, logs_of, results_of
from slpd.report.sources import report_files
from slpd.settings.load import load_experiment

LAYOUT = Layout(results_of("lung"))


def test_a_name_that_is_not_given_stays_a_wildcard() -> None:
    """One pattern that is filled in later, as Snakemake does, is the path that is asked for by names."""
    patterns = [LAYOUT.thumbnail, LAYOUT.pictures, LAYOUT.variant, LAYOUT.evaluation, LAYOUT.folds, LAYOUT.manifest]
    for pattern in patterns:
        wildcards = re.findall(r"{(\w+)}", str(pattern()))
        names = {name: f"a-{name}" for name in wildcards}
        assert str(pattern()).format(**names) == str(pattern(**names))
        assert len(wildcards) >= 1


def test_folders_are_those_of_the_architecture() -> None:
    """R, C and V of its table of artefacts."""
    results = "results/lung"
    assert str(LAYOUT.cohort("tcga")) == f"{results}/cohorts/tcga"
    assert str(LAYOUT.variant("tcga", "slpd")) == f"{results}/cohorts/tcga/variants/slpd"
    assert str(LAYOUT.evaluation("os", "slpd", "abmil")) == f"{results}/tasks/os/slpd/abmil"
    assert str(LAYOUT.table("_differences.csv", "main")) == f"{results}/tables/main_differences.csv"
    assert (str(LAYOUT.report), str(LAYOUT.benchmarks)) == (f"{results}/report", f"{results}/benchmarks")
    assert str(logs_of("lung")) == "logs/lung"


# ---- what the report reads -----------------------------------------------------------------------------------------


def sheet(suffix: str) -> Sheet:
    return {name: SheetRow(name, f"{name}.{suffix}", name, None, {"dx": "a"}) for name in ("s0", "s1")}


def two_cohorts() -> dict[str, Any]:
    """The toy's config with a cohort of token files, a variant without weights and published figures."""
    config = copy.deepcopy(toy.TOY)
    config["cohorts"].append({"name": "tok", "sheet": "tok.csv"})
    config["tasks"].append({**copy.deepcopy(config["tasks"][0]), "name": "tok", "cohort": "tok"})
    config["variants"].append({"name": "absent", "pretrained": {"checkpoint": None, "sha256": "0" * 64}})
    config["tables"].append(
        rerun_table.table("tok", ["tok"], ["slpd", "absent"], ["knn"], ["auc"], published=["figures.csv"])
    )
    return config


def test_report_reads_slides_curves_evaluations_and_what_was_learned() -> None:
    experiment = load_experiment(rerun_table.merged(two_cohorts()))
    sheets = {"toy": sheet("tiff"), "tok": sheet("h5")}
    files = [str(path) for path in report_files(experiment, sheets, Layout(Path("R")))]
    assert len(files) == len(set(files))
    assert {"slides.csv", "tok.csv", "figures.csv"} == {path for path in files if not path.startswith("R/")}
    of_slides = {path for path in files if "batches" in path}
    assert of_slides == {f"R/cohorts/toy/{folder}/batches/0.json" for folder in ("tissue", "regions", "pictures")}, (
        "of token files there is nothing to look at"
    )
    curves = {path.removesuffix("/metrics.csv") for path in files if "cohorts" in path and "/metrics.csv" in path}
    assert curves == {
        *("R/cohorts/toy/warmup", "R/cohorts/toy/variants/dino", "R/cohorts/toy/variants/slpd"),
        *("R/cohorts/tok/warmup", "R/cohorts/tok/variants/slpd"),
    }
    evaluations = {path.removesuffix("/predictions.csv") for path in files if path.endswith("/predictions.csv")}
    assert evaluations == {
        *(f"R/tasks/dx/{variant}/{head}" for variant in ("dino", "slpd") for head in ("abmil", "knn")),
        "R/tasks/tok/slpd/knn",
    }, "nothing of a variant without weights"
    graphs = {path for path in files if path.endswith("graph.npz")}
    assert graphs == {f"R/cohorts/{cohort}/variants/slpd/graph.npz" for cohort in ("toy", "tok")}, "plain DINO has none"


def test_a_sheet_is_of_slides_or_of_tokens() -> None:
    assert not starts_from_tokens(sheet("tiff").values())
    assert starts_from_tokens(sheet("pt").values())


def test_digest_of_labels_tells_labels_and_patients_but_not_order_and_files() -> None:
    one, two = SheetRow("s1", "a.tiff", "p", None, {"x": "1", "y": "2"}), SheetRow("s2", "b.tiff", "p", None, {"x": ""})
    digest = labels_digest([one, two])
    assert digest == labels_digest([two, SheetRow("s1", "moved/a.tiff", "p", 0.5, {"y": "2", "x": "1"})])
    assert digest != labels_digest([SheetRow("s1", "a.tiff", "p", None, {"x": "1", "y": "3"}), two])
    assert digest != labels_digest([SheetRow("s1", "a.tiff", "q", None, {"x": "1", "y": "2"}), two])
    assert digest != labels_digest([one])


def test_size_of_a_slide_is_that_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "s.tiff").write_bytes(b"12345")
    assert SheetRow("s", str(tmp_path / "s.tiff"), "p", None, {}).n_bytes == 5


def test_split_files_are_those_of_the_name(tmp_path: Path) -> None:
    for name in ("splits_1.csv", "splits_0.csv", "other.csv"):
        (tmp_path / name).touch()
    assert [path.name for path in split_files(tmp_path)] == ["splits_0.csv", "splits_1.csv"]
