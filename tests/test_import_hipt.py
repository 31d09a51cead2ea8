"""HIPT's tables become a sheet and folds: its own slide lists come out, in its order, also for a quarter of them."""

import argparse
import csv
import logging
import statistics
import zipfile
from pathlib import Path

import pytest
import yaml

from slpd.artifacts.folds import SPLITS
from slpd.artifacts.published import read_published
from slpd.artifacts.sheet import read_sheet
from slpd.artifacts.split_files import read_split_file
from slpd.errors import UserError
from slpd.evaluation.tasks import check_task, labelled_slides
from slpd.settings.evaluation import SurvivalTask, task_from_json
from slpd.stages import import_hipt
from slpd.stages.split_folds import folds_of

HIPT = Path(__file__).parents[2] / "shared" / "hipt"
ROOT = Path(__file__).parents[1]
needs_hipt = pytest.mark.skipif(not HIPT.is_dir(), reason="HIPT's label tables are not here")
TABLE = """,case_id,slide_id,survival_months,censorship,oncotree_code
0,TCGA-AA-0001,TCGA-AA-0001-01Z-00-DX1.X.svs,10.5,1.0,LUSC
1,TCGA-AA-0002,TCGA-AA-0002-01Z-00-DX1.X.svs,3.0,0.0,LUAD
2,TCGA-AA-0003,TCGA-AA-0003-01Z-00-DX1.X.svs,7.0,0.0,MIXED
3,TCGA-AA-0004,TCGA-AA-0004-01Z-00-DX1.X.svs,,,LUAD
"""


def run_stage(folder: Path, labels: Path, splits: Path, slides: Path, *classes: str) -> None:
    parser = argparse.ArgumentParser()
    import_hipt.add_arguments(parser)
    paths = {"labels": labels, "splits": splits, "slides": slides, "sheet": folder / "sheet.csv"}
    paths |= {"folds": folder / "folds", "config": folder / "hipt.yaml"}
    words = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    import_hipt.run(parser.parse_args([*words, "--cohort", "c", "--classes", *classes]))


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
    (fold,) = folds_of(task, slides)
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
        run_stage(tmp_path, *arguments[:2], tmp_path / "absent", "LUAD")
    (tmp_path / "gdc/copy/TCGA-AA-0009-01Z-00-DX1.X.svs").rename(tmp_path / "gdc/copy/mine.svs")
    (tmp_path / "gdc/copy/TCGA-AA-0001-01Z-00-DX1.X.svs").touch()
    with pytest.raises(UserError, match="slide mine: not in the label table and no TCGA barcode"):
        run_stage(tmp_path, *arguments, "LUAD", "LUSC")
    (tmp_path / "labels.csv").write_text(TABLE.replace("case_id", "case"))
    with pytest.raises(UserError, match=r"labels.csv: no column 'case_id'"):
        run_stage(tmp_path, *arguments, "LUAD")
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"bad.zip: cannot be read"):
        run_stage(tmp_path, tmp_path / "bad.zip", *arguments[1:], "LUAD")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", TABLE)
        archive.writestr("b.csv", TABLE)
    with pytest.raises(UserError, match=r"two.zip: 2 files in the archive"):
        run_stage(tmp_path, tmp_path / "two.zip", *arguments[1:], "LUAD")


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
    folds = folds_of(task, labelled_slides(task, read_sheet(tmp_path / "sheet.csv")))
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
    with pytest.raises(UserError, match=r"has splits_1\.csv of other folds"):
        run_stage(tmp_path, tmp_path / "labels.csv", tmp_path / "splits", tmp_path / "gdc", "LUAD", "LUSC")
