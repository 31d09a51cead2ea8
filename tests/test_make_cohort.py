"""`make_cohort`: a sheet that can be read, slides that OpenSlide opens, no work done twice."""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from slpd.artifacts.slides.known_kinds import read_known_kinds
from slpd.artifacts.slides.sheet import SheetRow, read_sheet
from slpd.errors import UserError
from slpd.settings.synthetic import ProceduralCohort
from slpd.stages import make_cohort
from slpd.synthetic.procedural_cohort import paint_procedural, plan_procedural

DEMO = Path(__file__).parents[1] / "config" / "demo_cohort.yaml"
SMALL: dict[str, Any] = yaml.safe_load(DEMO.read_text(encoding="utf-8")) | {
    "patients_per_class": 2,
    "second_slides_per_class": 1,
    "width_um": 280,
    "height_um": 260,
    "mpps": [0.5, 0.25],
    "flaws": [],
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
    assert sorted(row.labels["pattern"] for row in good(rows)) == ["a"] * 3 + ["b"] * 3


def test_the_sheet_does_not_mark_the_file_that_is_no_slide(rows: list[SheetRow]) -> None:
    (other,) = [row for row in rows if row not in good(rows)]
    assert other.labels["pattern"] in SMALL["classes"]
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
    (cohort / "slides" / ".P001-1.77.partial.tiff").write_bytes(b"half")
    make(cohort.parent)
    assert {path.name: path.read_bytes() for path in cohort.rglob("*.*")} == before
    assert kept.stat().st_mtime_ns == kept_at


def test_bytes_of_a_slide_depend_on_seed_and_name_alone(cohort: Path, tmp_path: Path) -> None:
    settings = ProceduralCohort.model_validate(SMALL)
    one = plan_procedural(settings)[-2]
    make_cohort.draw_one(settings, {}, one, tmp_path / "alone")
    other_seed = settings.model_copy(update={"seed": settings.seed + 1})
    make_cohort.draw_one(other_seed, {}, one, tmp_path / "other")
    assert one.path(tmp_path / "alone").read_bytes() == one.path(cohort).read_bytes()
    assert one.path(tmp_path / "other").read_bytes() != one.path(cohort).read_bytes()


def test_other_settings_draw_again_and_leave_nothing_behind(tmp_path: Path) -> None:
    out = make(tmp_path, patients_per_class=1, slides_without_mpp=0)
    before = {path.name: path.read_bytes() for path in (out / "slides").iterdir()}
    make(tmp_path, patients_per_class=1, slides_without_mpp=0, second_slides_per_class=0, jpeg_quality=70)
    after = {path.name: path.read_bytes() for path in (out / "slides").iterdir()}
    assert len(after) == 3
    assert not set(before.items()) & {item for item in after.items() if item[0] != "P003-1.tiff"}
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
        ({"common": ["gland"]}, "the kinds of a pair and the common ones must differ"),
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


def demo() -> ProceduralCohort:
    settings = make_cohort.read_settings(DEMO, None)
    assert isinstance(settings, ProceduralCohort)
    return settings


def test_demo_plan_keeps_its_promises() -> None:
    planned = [slide for slide in plan_procedural(demo()) if slide.is_slide]
    assert len(planned) >= 96
    assert len({(slide.patient, slide.label) for slide in planned}) == len({slide.patient for slide in planned})
    finest = [sum(slide.mpp == 0.25 for slide in planned if slide.label == name) for name in demo().classes]
    assert 0 < min(finest) <= max(finest) < len(planned) / 8
    assert sum(not slide.mpp_in_file for slide in planned) == 1
    assert [slide.flaw for slide in planned if slide.flaw] == ["pen", "blur", "padding"]


def test_no_kind_and_no_scanner_tells_the_class_of_the_demo() -> None:
    planned = [slide for slide in plan_procedural(demo()) if slide.is_slide]
    shown = Counter(kind for slide in planned for kind in slide.kinds)
    for name in demo().classes:
        own = [slide for slide in planned if slide.label == name]
        assert Counter(kind for slide in own for kind in slide.kinds) == {kind: n / 2 for kind, n in shown.items()}
        assert Counter(slide.scanner for slide in own) == dict.fromkeys(demo().scanners, len(own) / 2)


def test_squares_tell_what_was_drawn(cohort: Path, rows: list[SheetRow]) -> None:
    settings = ProceduralCohort.model_validate(SMALL)
    known = read_known_kinds(cohort / "kinds.csv")
    planned = [slide for slide in plan_procedural(settings) if slide.is_slide]
    assert list(known) == [slide.slide for slide in planned]
    for slide, row in zip(planned, good(rows), strict=True):
        squares = known[slide.slide]
        assert {square.kind for square in squares} <= set(slide.kinds)
        assert {square.side_lv0 for square in squares} == {round(21 / slide.mpp)}  # 21 µm
        with openslide.OpenSlide(row.path) as file:
            rgb = np.asarray(file.read_region((0, 0), 0, file.dimensions).convert("RGB")).astype(int)
        coloured = np.ptp(rgb, axis=2) > 15
        inside = [coloured[s.y_lv0 : s.y_lv0 + s.side_lv0, s.x_lv0 : s.x_lv0 + s.side_lv0].mean() for s in squares]
        assert np.median(inside) > 0.9


def test_kinds_that_are_gone_are_told_again(cohort: Path) -> None:
    before = (cohort / "kinds.csv").read_bytes()
    next((cohort / "kinds").iterdir()).unlink()
    (cohort / "kinds.csv").unlink()
    make(cohort.parent)
    assert (cohort / "kinds.csv").read_bytes() == before


@pytest.mark.slow
def test_no_colour_channel_separates_the_classes() -> None:
    """Small slides, so that all can be drawn: shares of kinds do not depend on the size."""
    settings = demo().model_copy(update={"width_um": 300, "height_um": 300, "territory_um": 60, "mpps": [0.5]})
    planned = [slide for slide in plan_procedural(settings) if slide.is_slide and not slide.flaw]
    colours = []
    for slide in planned:
        rgb, _ = paint_procedural(settings, slide)
        colours.append(rgb[np.ptp(rgb.astype(int), axis=2) > 15].mean(axis=0))
    labels = [slide.label == "b" for slide in planned]
    for channel in np.transpose(colours):
        assert 0.3 < roc_auc_score(labels, channel) < 0.7
