"""`make_cohort`: a sheet that can be read, slides that OpenSlide opens, no work done twice."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from slpd.artifacts.slides.sheet import SheetRow, read_sheet
from slpd.errors import UserError
from slpd.settings.synthetic import COHORTS, ProceduralCohort
from slpd.stages import make_cohort
from slpd.synthetic.procedural_cohort import paint_procedural, plan_procedural

DEMO = Path(__file__).parents[1] / "config" / "demo_cohort.yaml"
SMALL: dict[str, Any] = yaml.safe_load(DEMO.read_text(encoding="utf-8")) | {
    "patients_per_class": 2,
    "second_slides_per_class": 1,
    "width_um": 280,
    "height_um": 260,
    "mpps": [0.5, 0.25],
}


def make(folder: Path, **changes: object) -> Path:
    """Make the small cohort with some settings changed; its folder."""
    config, out = folder / "cohort.yaml", folder / "cohort"
    config.write_text(yaml.safe_dump(SMALL | changes), encoding="utf-8")
    make_cohort.run(argparse.Namespace(config=config, out=out, tiles=None))
    return out


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def rows(cohort: Path) -> list[SheetRow]:
    return read_sheet(cohort / "slides.csv")


def good(rows: list[SheetRow]) -> list[SheetRow]:
    return [row for row in rows if openslide.OpenSlide.detect_format(row.path)]


def test_sheet_lists_every_file_with_patient_and_class(cohort: Path, rows: list[SheetRow]) -> None:
    assert [row.path for row in rows] == [str(cohort / "slides" / f"{row.slide}.tiff") for row in rows]
    assert sorted(path.name for path in (cohort / "slides").iterdir()) == sorted(f"{row.slide}.tiff" for row in rows)
    assert len(good(rows)) == 6
    assert len({row.patient for row in good(rows)}) == 4
    assert sorted(row.labels["immune"] for row in good(rows)) == ["excluded"] * 3 + ["inflamed"] * 3


def test_the_sheet_does_not_mark_the_file_that_is_no_slide(rows: list[SheetRow]) -> None:
    (other,) = [row for row in rows if row not in good(rows)]
    assert other.labels["immune"] in SMALL["classes"]
    assert other.patient not in {row.patient for row in good(rows)}


def test_resolution_is_in_the_file_or_else_in_the_sheet(rows: list[SheetRow]) -> None:
    in_file = [openslide.OpenSlide(row.path).properties.get("openslide.mpp-x") for row in good(rows)]
    in_sheet = [row.mpp for row in good(rows)]
    assert [mpp is None for mpp in in_file] == [mpp is not None for mpp in in_sheet]
    assert in_file.count(None) == SMALL["slides_without_mpp"]
    assert {float(mpp) for mpp in in_file if mpp} == {0.25, 0.5}


def test_size_in_micrometres_is_as_asked_at_any_resolution(rows: list[SheetRow]) -> None:
    for row in good(rows):
        with openslide.OpenSlide(row.path) as slide:
            mpp = row.mpp or float(slide.properties["openslide.mpp-x"])
            assert np.allclose(np.multiply(slide.dimensions, mpp), (SMALL["width_um"], SMALL["height_um"]))


def test_share_of_coloured_pixels_is_the_tissue_fraction(rows: list[SheetRow]) -> None:
    for row in good(rows):
        with openslide.OpenSlide(row.path) as slide:
            rgb = np.asarray(slide.get_thumbnail((560, 520)).convert("RGB")).astype(int)
        coloured = (np.ptp(rgb, axis=2) > 15).mean()
        assert SMALL["tissue_fraction"] - 0.15 < coloured <= SMALL["tissue_fraction"] + 0.03  # holes are glass
        assert rgb[:4].min() > 225  # the border is glass


def test_finished_cohort_is_left_alone(cohort: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = {path: path.stat().st_mtime_ns for path in cohort.rglob("*")}
    with caplog.at_level("INFO"):
        make(cohort.parent)
    assert {path: path.stat().st_mtime_ns for path in cohort.rglob("*")} == before
    assert "nothing to do" in caplog.text


def test_killed_run_continues_to_the_same_bytes(cohort: Path) -> None:
    before = {path.name: path.read_bytes() for path in cohort.rglob("*.*")}
    kept, lost = sorted((cohort / "slides").iterdir())[:2]
    kept_at = kept.stat().st_mtime_ns
    lost.unlink()
    (cohort / "slides.csv").unlink()
    (cohort / "slides" / ".P01-1.77.partial.tiff").write_bytes(b"half")
    make(cohort.parent)
    assert {path.name: path.read_bytes() for path in cohort.rglob("*.*")} == before
    assert kept.stat().st_mtime_ns == kept_at


def test_bytes_of_a_slide_depend_on_seed_and_name_alone(cohort: Path, tmp_path: Path) -> None:
    settings = ProceduralCohort.model_validate(SMALL)
    one = plan_procedural(settings)[-2]
    make_cohort.draw_one(settings, {}, one, tmp_path / "alone.tiff")
    other_seed = settings.model_copy(update={"seed": settings.seed + 1})
    make_cohort.draw_one(other_seed, {}, one, tmp_path / "other.tiff")
    assert (tmp_path / "alone.tiff").read_bytes() == one.path(cohort).read_bytes()
    assert (tmp_path / "other.tiff").read_bytes() != one.path(cohort).read_bytes()


def test_other_settings_draw_again_and_leave_nothing_behind(tmp_path: Path) -> None:
    out = make(tmp_path, patients_per_class=1, slides_without_mpp=0)
    before = {path.name: path.read_bytes() for path in (out / "slides").iterdir()}
    make(tmp_path, patients_per_class=1, slides_without_mpp=0, second_slides_per_class=0, jpeg_quality=70)
    after = {path.name: path.read_bytes() for path in (out / "slides").iterdir()}
    assert len(after) == 3
    assert not set(before.items()) & {item for item in after.items() if item[0] != "P03-1.tiff"}
    assert [row.slide for row in read_sheet(out / "slides.csv")] == [Path(name).stem for name in sorted(after)]


def test_folder_with_slides_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "slides.csv").write_text("mine")
    with pytest.raises(UserError, match="choose another folder"):
        make(tmp_path)
    assert (tmp_path / "cohort" / "slides.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeed": 1}, r"cohort.yaml.seeed: unknown key, did you mean 'seed'"),
        ({"kind": "painted"}, "kind is 'painted', not one of procedural, tiles"),
        ({"mpps": [2.0]}, r"mpps.0: .*less than or equal to 0.5"),
        ({"label": "patient"}, "label column cannot be called"),
        ({"second_slides_per_class": 3}, "cannot exceed patients_per_class"),
        ({"slides_without_mpp": 7}, "cannot exceed the 6 slides"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make(tmp_path, **changes)
    assert not (tmp_path / "cohort").exists()


def test_config_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.yaml: cannot be read \(No such file"):
        make_cohort.read_settings(tmp_path / "none.yaml", None)
    (tmp_path / "bad.yaml").write_text("kind: [")
    with pytest.raises(UserError, match=r"bad\.yaml: not YAML"):
        make_cohort.read_settings(tmp_path / "bad.yaml", None)


def test_tiles_are_refused_where_none_are_used(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave --tiles out"):
        make_cohort.read_settings(DEMO, tmp_path)


def test_demo_plan_keeps_its_promises() -> None:
    settings = make_cohort.read_settings(DEMO, None)
    assert isinstance(settings, COHORTS["procedural"])
    planned = [one for one in plan_procedural(settings) if one.is_slide]
    assert len(planned) >= 24
    assert len({one.patient for one in planned}) >= 20
    assert len({(one.patient, one.label) for one in planned}) == len({one.patient for one in planned})
    finest = [sum(one.mpp == 0.25 for one in planned if one.label == name) for name in settings.classes]
    assert len(set(finest)) == 1  # resolution says nothing about the class
    assert 0 < finest[0] < len(planned) / 2
    assert sum(not one.mpp_in_file for one in planned) == 1


@pytest.mark.slow
def test_no_colour_channel_separates_the_classes() -> None:
    """Slides of a quarter of the width, so that all can be drawn: the mix does not depend on the size."""
    settings = ProceduralCohort.model_validate(
        yaml.safe_load(DEMO.read_text(encoding="utf-8")) | {"width_um": 260, "height_um": 260, "mpps": [0.5]}
    )
    planned = [one for one in plan_procedural(settings) if one.is_slide]
    colours = []
    for one in planned:
        rgb = paint_procedural(settings, one)
        colours.append(rgb[np.ptp(rgb.astype(int), axis=2) > 15].mean(axis=0))
    labels = [one.label == "inflamed" for one in planned]
    for channel in np.transpose(colours):
        assert 0.25 < roc_auc_score(labels, channel) < 0.75
