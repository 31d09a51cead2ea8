"""HIPT's tables become a sheet and folds: its own slide lists come out, in its order, also for a quarter of them."""

import argparse
import csv
import logging
import re
import statistics
import zipfile
from pathlib import Path

import pytest
import yaml

from slpd.artifacts.evaluation.folds import SPLITS
from slpd.artifacts.outside.published import read_published
from slpd.artifacts.outside.split_files import read_split_file
from slpd.artifacts.slides.sheet import read_sheet
from slpd.errors import UserError
from slpd.evaluation.task_folds import make_folds
from slpd.evaluation.tasks import check_task, labelled_slides
from slpd.settings.evaluation import SurvivalTask, task_from_json
from slpd.stages import import_hipt

HIPT = Path(__file__).parents[2] / "shared" / "hipt"
ROOT = Path(__file__).parents[1]
needs_hipt = pytest.mark.skipif(not HIPT.is_dir(), reason="HIPT's label tables are not here")
TABLE = """,case_id,slide_id,survival_months,censorship,oncotree_code
0,TCGA-AA-0001,TCGA-AA-0001-01Z-00-DX1.X.svs,10.5,1.0,LUSC
1,TCGA-AA-0002,TCGA-AA-0002-01Z-00-DX1.X.svs,3.0,0.0,LUAD
2,TCGA-AA-0003,TCGA-AA-0003-01Z-00-DX1.X.svs,7.0,0.0,MIXED
3,TCGA-AA-0004,TCGA-AA-0004-01Z-00-DX1.X.svs,,,LUAD
"""


def run_stage(folder: Path, labels: Path, splits: Path, slides: Path, *classes: str, cohort: str = "c") -> None:
    parser = argparse.ArgumentParser()
    import_hipt.add_arguments(parser)
    paths = {"labels": labels, "splits": splits, "slides": slides, "sheet": folder / "sheet.csv"}
    paths |= {"folds": folder / "folds", "config": folder / "hipt.yaml"}
    words = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    import_hipt.run(parser.parse_args([*words, "--cohort", cohort, "--classes", *classes]))


def refused(folder: Path, message: str, *classes: str, cohort: str = "c") -> None:
    """The import of a small case is refused, and not one file is written."""
    before = written(folder)
    arguments = (folder / "labels.csv", folder / "splits", folder / "gdc")
    with pytest.raises(UserError, match=message):
        run_stage(folder, *arguments, *(classes or ("LUAD", "LUSC")), cohort=cohort)
    assert written(folder) == before


def written(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def small(folder: Path, *slides: str) -> None:
    """A label table, a fold, and files of some slides in folders as the GDC's client makes them."""
    (folder / "labels.csv").write_text(TABLE)
    (folder / "splits").mkdir()
    lines = [",train,val,test", "0,TCGA-AA-0001-01Z-00-DX1.X,,TCGA-AA-0002-01Z-00-DX1.X"]
    (folder / "splits/splits_0.csv").write_text("\n".join(lines) + "\n")
    (folder / "splits/splits_0_bool.csv").write_text("of no use")
    for slide in slides:
        path = folder / "gdc" / f"uuid-{slide}" / f"{slide}-01Z-00-DX1.X.svs"
        path.parent.mkdir(parents=True)
        path.touch()


def test_the_sheet_has_labelled_slides_in_order_then_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small(tmp_path, "TCGA-AA-0009", "TCGA-AA-0003", "TCGA-AA-0002", "TCGA-AA-0001")
    with caplog.at_level(logging.INFO):
        run_stage(tmp_path, tmp_path / "labels.csv", tmp_path / "splits", tmp_path / "gdc", "LUAD", "LUSC")
    rows = read_sheet(tmp_path / "sheet.csv")
    assert [(row.patient[-4:], *row.labels.values()) for row in rows] == [
        ("0001", "LUSC", "10.5", "0"),  # censored
        ("0002", "LUAD", "3.0", "1"),
        ("0003", "", "7.0", "1"),  # another histology: no label, survival kept
        ("0009", "", "", ""),  # not in the table: patient from its barcode
    ]
    assert all(Path(row.path).is_file() for row in rows)
    assert sorted(path.name for path in (tmp_path / "folds").iterdir()) == ["splits_0.csv"]
    assert "2 labelled slides of 2 patients, 2 slides without a label" in caplog.text
    assert "1 labelled slides have no file" in caplog.text
    assert "TCGA-AA-0004-01Z-00-DX1.X" in caplog.text


def test_an_unknown_censorship_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(TABLE.replace("10.5,1.0", "10.5,yes"))
    with pytest.raises(UserError, match=r"line 2: slide TCGA-AA-0001-01Z-00-DX1\.X has censorship 'yes'; write 1"):
        import_hipt.read_hipt_labels(tmp_path / "labels.csv", "oncotree_code")


def test_the_config_is_one_that_runs(tmp_path: Path) -> None:
    small(tmp_path, "TCGA-AA-0004", "TCGA-AA-0002", "TCGA-AA-0001")
    with open(tmp_path / "splits/splits_0.csv", "a") as file:
        file.write("1,TCGA-AA-0004-01Z-00-DX1.X,,\n")
    run_stage(tmp_path, tmp_path / "labels.csv", tmp_path / "splits", tmp_path / "gdc", "LUAD", "LUSC")
    config = yaml.safe_load((tmp_path / "hipt.yaml").read_text())
    assert config["cohorts"] == [{"name": "c", "sheet": str(tmp_path / "sheet.csv")}]
    task = task_from_json(yaml_json(config["tasks"][0]))
    slides = labelled_slides(task, read_sheet(tmp_path / "sheet.csv"))
    check_task(task, slides)
    (fold,) = make_folds(task, slides)
    assert [len(getattr(fold, split)) for split in SPLITS] == [2, 0, 1]
    survival = SurvivalTask(
        name="os", cohort="c", kind="survival", time="survival_months", event="event", n_bins=2, folds=task.folds
    )
    assert [slide.event for slide in labelled_slides(survival, read_sheet(tmp_path / "sheet.csv"))] == ["0", "1"]


def yaml_json(entry: object) -> str:
    import json

    return json.dumps(entry)


def test_what_cannot_be_imported_is_named(tmp_path: Path) -> None:
    small(tmp_path, "TCGA-AA-0009")
    arguments = (tmp_path / "labels.csv", tmp_path / "splits", tmp_path / "gdc")
    with pytest.raises(
        UserError, match=r"none of the 3 labelled slides is among its 1 files, for example TCGA-AA-0001"
    ):
        run_stage(tmp_path, *arguments, "LUAD", "LUSC")
    (tmp_path / "gdc/copy").mkdir()
    (tmp_path / "gdc/copy/TCGA-AA-0009-01Z-00-DX1.X.svs").touch()
    with pytest.raises(UserError, match=r"slide TCGA-AA-0009-01Z-00-DX1.X: two files"):
        run_stage(tmp_path, *arguments, "LUAD", "LUSC")
    with pytest.raises(UserError, match=r"--slides .*absent: no such folder"):
        run_stage(tmp_path, *arguments[:2], tmp_path / "absent", "LUAD", "LUSC")
    (tmp_path / "gdc/copy/TCGA-AA-0009-01Z-00-DX1.X.svs").rename(tmp_path / "gdc/copy/mine.svs")
    (tmp_path / "gdc/copy/TCGA-AA-0001-01Z-00-DX1.X.svs").touch()
    with pytest.raises(UserError, match="slide mine: not in the label table and no TCGA barcode"):
        run_stage(tmp_path, *arguments, "LUAD", "LUSC")
    (tmp_path / "labels.csv").write_text(TABLE.replace("case_id", "case"))
    with pytest.raises(UserError, match=r"labels.csv: no column 'case_id'"):
        run_stage(tmp_path, *arguments, "LUAD", "LUSC")
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"bad.zip: cannot be read"):
        run_stage(tmp_path, tmp_path / "bad.zip", *arguments[1:], "LUAD", "LUSC")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", TABLE)
        archive.writestr("b.csv", TABLE)
    with pytest.raises(UserError, match=r"two.zip: 2 files in the archive"):
        run_stage(tmp_path, tmp_path / "two.zip", *arguments[1:], "LUAD", "LUSC")


RESULTS = [(name, share) for name in ("brca_mil_192", "lung_mil_192") for share in ("1.00", "0.25")]


@needs_hipt
@pytest.mark.parametrize(("name", "share"), RESULTS)
def test_the_lists_that_hipt_wrote_come_out(tmp_path: Path, name: str, share: str) -> None:
    """Through the command, the sheet and the config: the slides of every split, order and draw included."""
    cohort = name.split("_", maxsplit=1)[0]
    classes = {"brca": ("IDC", "ILC"), "lung": ("LUAD", "LUSC")}[cohort]
    labels = HIPT / f"tcga_{cohort}_subset.csv.zip"
    (tmp_path / "slides").mkdir()
    for slide in import_hipt.read_hipt_labels(labels, "oncotree_code"):
        (tmp_path / "slides" / f"{slide.slide}.svs").touch()
    run_stage(tmp_path, labels, HIPT / "splits" / f"tcga_{cohort}", tmp_path / "slides", *classes)
    config = yaml.safe_load((tmp_path / "hipt.yaml").read_text())
    task = task_from_json(yaml_json(config["tasks"][share == "0.25"]))
    folds = make_folds(task, labelled_slides(task, read_sheet(tmp_path / "sheet.csv")))
    written = read_split_file(HIPT / "results" / f"{name}_{share}" / "splits_0.csv")
    for split in SPLITS:
        assert [slide.slide for slide in getattr(folds[0], split)] == written[split]
    assert len(folds) == 10


@needs_hipt
@pytest.mark.parametrize("path", sorted(HIPT.glob("results/*/summary.csv")), ids=lambda path: path.parent.name)
def test_the_published_figures_are_those_of_hipts_folds(path: Path) -> None:
    """Every summary.csv, re-aggregated as our tables do (ddof 1), gives what config/published/hipt.csv says."""
    cohort, *head, _, share = path.parent.name.split("_")
    names = {
        "task": {"brca": "brca_subtype", "lung": "nsclc_subtype"}[cohort] + ("" if share == "1.00" else "_25"),
        "head": {"mil": "max_mil", "hipt_gp": "vit_wsi"}["_".join(head)],
    }
    with open(path, newline="") as file:
        folds = list(csv.DictReader(file))
    assert len(folds) == 10
    checked = 0
    for figure in read_published(ROOT / "config/published/hipt.csv"):
        if (figure.task, figure.variant, figure.head) == (names["task"], "hipt", names["head"]):
            column = {"auc": "test_auc", "accuracy": "test_acc"}[figure.metric]
            values = [float(fold[column]) for fold in folds]
            assert figure.value == round(statistics.fmean(values), 3)
            assert figure.std == round(statistics.stdev(values), 3)
            checked += 1
    assert checked == (2 if share == "1.00" else 1)


def test_folds_of_another_set_are_not_mixed_in(tmp_path: Path) -> None:
    small(tmp_path, "TCGA-AA-0002", "TCGA-AA-0001")
    (tmp_path / "folds").mkdir()
    (tmp_path / "folds/splits_1.csv").write_text("train,val,test\na,,b\n")
    refused(tmp_path, r"has splits_1\.csv of other folds")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("TCGA-AA-0001-01Z-00-DX1.X,,TCGA-AA-0001-01Z-00-DX1.X", "slide TCGA-AA-0001-01Z-00-DX1.X is in train and"),
        ("TCGA-ZZ-0001-01Z-00-DX1.X,,TCGA-ZZ-0002-01Z-00-DX1.X", "none of the 1 train slides is labelled and usable"),
    ],
)
def test_split_files_that_cannot_serve_leave_nothing_behind(tmp_path: Path, lines: str, message: str) -> None:
    small(tmp_path, "TCGA-AA-0002", "TCGA-AA-0001")
    (tmp_path / "splits/splits_0.csv").write_text(f"train,val,test\n{lines}\n")
    refused(tmp_path, message)


def test_a_sheet_that_the_workflow_would_refuse_is_not_written(tmp_path: Path) -> None:
    small(tmp_path, "TCGA-AA-0002", "TCGA-AA-0001")
    (tmp_path / "gdc/TCGA-AA-0009-01Z-00-DX1.X (1).svs").touch()
    refused(tmp_path, r"slide id 'TCGA-AA-0009-01Z-00-DX1\.X \(1\)' is not a safe file name")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("LUAD", "LUSCC"), r"--classes LUSCC: no slide .* oncotree_code: LUAD \(2\), LUSC \(1\), MIXED \(1\)$"),
        (("LUAD",), "--classes LUAD: .* give two or more"),
        (("LUAD", "LUSC", "LUAD"), "--classes LUAD LUSC LUAD: .* each once"),
    ],
)
def test_classes_that_make_no_task_are_refused(tmp_path: Path, classes: tuple[str, ...], message: str) -> None:
    small(tmp_path, "TCGA-AA-0002", "TCGA-AA-0001")
    refused(tmp_path, message, *classes)


def test_a_column_of_hundreds_of_values_is_not_printed_whole(tmp_path: Path) -> None:
    small(tmp_path, "TCGA-AA-0002", "TCGA-AA-0001")
    rows = [f"{i},TCGA-AA-{i:04d},TCGA-AA-{i:04d}-01.svs,,,L{i:03d}" for i in range(100)]
    (tmp_path / "labels.csv").write_text("\n".join([TABLE.split("\n", maxsplit=1)[0], *rows]) + "\n")
    refused(tmp_path, r"labels in column oncotree_code: L000 \(1\), .* L011 \(1\) and 88 more$")


def test_labels_outside_the_classes_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small(tmp_path, "TCGA-AA-0002", "TCGA-AA-0001")
    run_stage(tmp_path, tmp_path / "labels.csv", tmp_path / "splits", tmp_path / "gdc", "LUAD", "LUSC")
    assert "labels of 1 slides are not among --classes and stay empty in the sheet: MIXED (1)" in caplog.text


@pytest.mark.parametrize("name", ["my nsclc", ".nsclc", "a/b", "n" * 110])
def test_a_name_that_the_config_would_refuse_is_refused(tmp_path: Path, name: str) -> None:
    """The longest name made of it, `<cohort>_subtype_25`, may have 120 characters."""
    small(tmp_path, "TCGA-AA-0002", "TCGA-AA-0001")
    refused(tmp_path, f"--cohort.*{name}': not a name", cohort=name)


def test_a_slide_with_two_lines_is_refused(tmp_path: Path) -> None:
    small(tmp_path, "TCGA-AA-0002", "TCGA-AA-0001")
    (tmp_path / "labels.csv").write_text(TABLE + "4,TCGA-AA-0002,TCGA-AA-0002-01Z-00-DX1.X,3.0,0.0,LUSC\n")
    refused(tmp_path, r"labels.csv: slide TCGA-AA-0002-01Z-00-DX1\.X is in lines 3, 6; keep one")


def test_a_label_column_that_is_not_there_is_answered_with_likely_ones(tmp_path: Path) -> None:
    genes = [f"G{i}_mut" for i in range(600)]
    (tmp_path / "labels.csv").write_text(
        ",".join(["case_id", "slide_id", "oncotree_code", *genes]) + "\n" + "x," * 602 + "x"
    )
    with pytest.raises(UserError, match=r"no column 'OncoTree'; .* 603 columns: oncotree_code, ") as refusal:
        import_hipt.read_hipt_labels(tmp_path / "labels.csv", "OncoTree")
    assert len(str(refusal.value)) < 300


def test_months_without_an_event_stay_out_of_the_sheet(tmp_path: Path) -> None:
    """What came after these months is not known, and an empty event beside a time could be taken for censoring."""
    small(tmp_path, "TCGA-AA-0002", "TCGA-AA-0001")
    (tmp_path / "labels.csv").write_text(TABLE.replace("10.5,1.0", "10.5,"))
    run_stage(tmp_path, tmp_path / "labels.csv", tmp_path / "splits", tmp_path / "gdc", "LUAD", "LUSC")
    labels = [row.labels for row in read_sheet(tmp_path / "sheet.csv")]
    assert [(row["survival_months"], row["event"]) for row in labels] == [("", ""), ("3.0", "1")]


def test_every_entry_of_the_config_can_be_copied_alone(tmp_path: Path) -> None:
    small(tmp_path, "TCGA-AA-0002", "TCGA-AA-0001")
    run_stage(tmp_path, tmp_path / "labels.csv", tmp_path / "splits", tmp_path / "gdc", "LUAD", "LUSC")
    text = (tmp_path / "hipt.yaml").read_text()
    entries = re.findall(r"^- .*\n(?:  .*\n)*", text, flags=re.MULTILINE)
    whole = yaml.safe_load(text)
    assert [yaml.safe_load(entry) for entry in entries] == [[entry] for entry in whole["cohorts"] + whole["tasks"]]
    assert [entry["name"] for entry in whole["tasks"]] == ["c_subtype", "c_subtype_25"]
