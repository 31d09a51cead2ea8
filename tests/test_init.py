"""`init`: a first config and sheet that the workflow takes, of whatever lies in a folder of slides."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dicom
import jsonschema
import numpy as np
import pytest
import toy
import yaml
from numpy.typing import NDArray

from slpd.__main__ import run
from slpd.errors import UserError
from slpd.inputs import read_sheets
from slpd.settings.load import load_experiment

pytestmark = pytest.mark.workflow
ROOT = Path(__file__).parents[1]
PIXELS: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
FIRST, SECOND = "TCGA-05-4244-01Z-00-DX1.d4ff32cd", "TCGA-05-4244-01Z-00-DX2.0bcf1d5a"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_slide: toy.MakeSlide) -> Path:
    """Two slides of a patient of TCGA, of 0.25 and 0.5 µm/px."""
    make_slide(tmp_path / f"slides/a/{FIRST}.svs", PIXELS, mpp=0.25)
    make_slide(tmp_path / f"slides/b/{SECOND}.tiff", PIXELS, mpp=0.5)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*words: str) -> None:
    run("init", ["--slides", str(Path("slides").absolute()), *words])  # reading processes stay where the first began


def rows(sheet: str = "config/cohorts/mine.csv") -> dict[str, dict[str, str]]:
    with open(sheet, newline="", encoding="utf-8") as file:
        return {row["slide"]: row for row in csv.DictReader(file)}


def test_names_patients_and_resolutions_are_those_of_the_files(folder: Path) -> None:
    init()
    assert rows() == {
        FIRST: {
            "slide": FIRST,
            "path": str(folder / f"slides/a/{FIRST}.svs"),
            "patient": "TCGA-05-4244",
            "mpp": "0.25",
        },
        SECOND: {
            "slide": SECOND,
            "path": str(folder / f"slides/b/{SECOND}.tiff"),
            "patient": "TCGA-05-4244",
            "mpp": "0.5",
        },
    }


def test_the_workflow_takes_what_it_writes(folder: Path) -> None:
    init()
    (folder / "weights").mkdir()
    (folder / "weights/vit256_small_dino.pth").write_bytes(b"weights")  # named by config.yaml; a dry run opens none
    words = [
        "-s",
        ROOT / "Snakefile",
        "--configfile",
        "config/mine.yaml",
        "--cores",
        "1",
        "--dry-run",
        "--quiet",
        "rules",
    ]
    command = [sys.executable, "-m", "snakemake", *words]
    plan = subprocess.run(command, env=toy.environment(), capture_output=True, text=True, check=False)
    assert plan.returncode == 0, plan.stdout + plan.stderr
    assert re.search(r"segment_tissue +1\b", plan.stdout + plan.stderr)
    assert not re.search(r"pretrain_dino|evaluate", plan.stdout)


@pytest.mark.parametrize("out", ["config", "deep/er/config"])
def test_the_config_is_valid_and_leads_to_the_schema(folder: Path, out: str) -> None:
    init("--out", out)
    text = (folder / f"{out}/mine.yaml").read_text()
    (schema,) = re.findall(r"\$schema=(\S+)", text)
    path = Path(os.path.normpath((folder / out).resolve() / schema))
    assert path.samefile(ROOT / "config/schema.json")
    jsonschema.validate(yaml.safe_load(text), json.loads(path.read_text()))
    linted = subprocess.run([ROOT / ".venv/bin/ryl", "format", "--check", out], check=False, capture_output=True)
    assert linted.returncode == 0


def test_its_entries_for_tasks_and_tables_are_valid_as_they_stand(folder: Path) -> None:
    init()
    text = (folder / "config/mine.yaml").read_text()
    text = re.sub(r"^(variants|tasks|tables): \[\]\n", "", text, flags=re.MULTILINE)
    changes = yaml.safe_load(re.sub(r"^# (?=tasks:|tables:| )", "", text, flags=re.MULTILINE))
    defaults = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    assert load_experiment(defaults | changes).tables[0].tasks == ["subtype"]


def test_what_is_no_slide_or_broken_is_left_out_with_the_reason(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    Path("slides/notes.txt").write_text("no slide")
    Path("slides/._copy.svs").write_bytes(b"of a Macintosh")
    Path("slides/broken.svs").write_bytes(Path(f"slides/a/{FIRST}.svs").read_bytes()[:3000])
    Path("slides/page.tif").write_text("<html>")
    Path("slides/empty.ndpi").touch()
    init()
    assert list(rows()) == [FIRST, SECOND]
    said = "\n".join(record.getMessage() for record in caplog.records)
    for name in ("broken", "page", "empty"):
        assert re.search(rf"left out: slide {name}: \S", said)
    assert "notes" not in said
    assert "_copy" not in said


def test_what_files_do_not_say_is_left_empty_and_asked_for(
    folder: Path, make_slide: toy.MakeSlide, capsys: pytest.CaptureFixture[str]
) -> None:
    make_slide(Path("slides/S 1.tiff"), PIXELS, mpp=None)
    make_slide(Path("slides/S2.tiff"), PIXELS, mpp=352.8)  # 72 dots per inch
    init()
    assert [(row["patient"], row["mpp"]) for name, row in rows().items() if name.startswith("S")] == [("", "")] * 2
    said = capsys.readouterr().out
    assert "Fill the patient column of 2 slides: S_1, S2" in said
    assert "Fill the mpp column of 2 slides: S_1, S2" in said
    with pytest.raises(UserError, match="slide S_1 has no patient; fill the patient column"):
        read_sheets(load_experiment(yaml.safe_load((ROOT / "config/config.yaml").read_text()) | mine()))


def mine() -> dict[str, object]:
    changes: dict[str, object] = yaml.safe_load(Path("config/mine.yaml").read_text())
    return changes


def test_slides_of_one_name_are_told_apart_by_their_folders(folder: Path, make_slide: toy.MakeSlide) -> None:
    for name in ("P1/1.svs", "P2/1.svs"):
        make_slide(Path("slides") / name, PIXELS)
    init()
    assert {name: row["path"] for name, row in rows().items() if "4244" not in name} == {
        "P1_1": str(folder / "slides/P1/1.svs"),
        "P2_1": str(folder / "slides/P2/1.svs"),
    }


def test_a_dicom_series_is_one_slide(folder: Path) -> None:
    dicom.write_dicom(Path("slides/scan"), PIXELS, ["level_1.dcm", "level_2.dcm"])
    init()
    assert rows().keys() == {FIRST, SECOND, "scan"}
    assert rows()["scan"]["path"] == str(folder / "slides/scan")


@pytest.mark.parametrize("there", ["config/mine.yaml", "config/cohorts/mine.csv"])
def test_nothing_is_overwritten(folder: Path, there: str) -> None:
    Path(there).parent.mkdir(parents=True)
    Path(there).write_text("mine")
    with pytest.raises(UserError, match=rf"{there}: exists already; remove it, or give another"):
        init()
    assert Path(there).read_text() == "mine"
    assert [path for path in Path("config").rglob("*") if path.is_file()] == [Path(there)]
    init("--experiment", "other")
    assert list(rows("config/cohorts/other.csv")) == [FIRST, SECOND]


def test_folders_without_slides_and_names_for_no_file_are_refused(folder: Path) -> None:
    Path("empty").mkdir()
    for words, message in {
        ("--slides", "nowhere"): "--slides nowhere: no such folder",
        ("--slides", "empty"): "--slides empty: no slide that can be used",
        ("--experiment", "a/b"): "--experiment 'a/b': not a name for files",
    }.items():
        with pytest.raises(UserError, match=message):
            init(*words)
    assert not Path("config").exists()


@pytest.mark.parametrize("name", ["no", "2024", "1e3"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(folder: Path, name: str) -> None:
    init("--experiment", name)
    assert yaml.safe_load((folder / f"config/{name}.yaml").read_text())["experiment"] == name


def test_an_output_folder_that_make_cannot_take_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="blanks"):
        init("--out", "o 2")


def test_names_that_become_one_id_are_numbered(folder: Path) -> None:
    first = next(folder.rglob("*.tiff"))
    for name in ("Müller", "Muller", "幻灯片", "组织"):
        shutil.copy(first, folder / f"slides/{name}.tiff")
    init()
    ids = {Path(row["path"]).stem: slide for slide, row in rows().items()}
    assert {ids["Müller"], ids["Muller"]} == {"Muller", "Muller_2"}
    assert {ids["幻灯片"], ids["组织"]} == {"slide", "slide_2"}


def test_what_cannot_be_looked_at_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "slides/dangling.svs").symlink_to(folder / "gone.svs")
    init()
    assert len(rows()) == 2
    assert f"left out: {folder}/slides/dangling.svs: a link to {folder}/gone.svs, which is not there" in caplog.text
