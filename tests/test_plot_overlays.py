"""plot_overlays: one picture per slide with a caption, at any size of cohort."""

from pathlib import Path

import numpy as np
import pytest

from slpd.__main__ import main
from slpd.artifacts.manifest import ManifestRow, write_manifest
from slpd.artifacts.picture import read_picture, write_picture
from slpd.artifacts.slide_record import SlideRecord
from slpd.plots.overlay import REJECTED, contact_sheet, draw_regions, fitting, load_font
from slpd.stages.plot_overlays import caption


def test_sheet_of_a_cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ok = SlideRecord(slide="a", path="x", n_regions=5, n_rejected=2)
    bad = SlideRecord(slide="b", path="x").failed("segment_tissue", "slide b: no resolution in the file")
    write_manifest(tmp_path / "slides.csv", [ManifestRow(ok, tmp_path / "a.h5"), ManifestRow(bad, None)])
    for slide, grey in (("a", 50), ("b", 150)):
        write_picture(tmp_path / f"{slide}.jpg", np.full((300, 200, 3), grey, np.uint8))
    argv = ["--manifest", "slides.csv", "--overlays-dir", ".", "--out", "sheet.jpg"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["slpd", "plot_overlays", *argv])
    assert main() == 0
    sheet = read_picture(tmp_path / "sheet.jpg")
    assert abs(int(sheet[160, 160, 0]) - 50) < 5
    assert abs(int(sheet[160, 480, 0]) - 150) < 5


def test_captions_say_regions_or_reason() -> None:
    ok = SlideRecord(slide="a", path="x", n_regions=5, n_rejected=2)
    assert caption(ManifestRow(ok, None)) == ("a", "5 regions, 2 rejected")
    bad = SlideRecord(slide="b", path="x").failed("segment_tissue", "slide b: empty")
    assert caption(ManifestRow(bad, None)) == ("b", "empty")


@pytest.mark.parametrize("n_slides", [1, 30, 1000])
def test_sheets_stay_readable_and_sane(n_slides: int) -> None:
    picture = np.zeros((60, 90, 3), np.uint8)
    sheet = contact_sheet((picture for _ in range(n_slides)), [("slide", "5 regions")] * n_slides)
    assert sheet.shape[1] <= 5000
    assert sheet.shape[0] * sheet.shape[1] < 40e6
    assert (sheet == 0).all(axis=2).sum() > n_slides * 60 * 90 * 0.9  # all are there, none is shrunk away


def test_long_captions_are_shortened() -> None:
    font = load_font(12)
    assert fitting("short", font, 200) == "short"
    shortened = fitting("a reason that is far too long for its place", font, 100)
    assert shortened.endswith("…")
    assert font.getlength(shortened) <= 100


def test_regions_are_drawn_where_they_lie() -> None:
    picture = draw_regions(np.zeros((100, 100, 3), np.uint8), [], [(1, 2)], 20)
    rows, columns = np.nonzero((picture == REJECTED).all(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 40, 40, 60)
