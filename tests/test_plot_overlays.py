"""plot_overlays: one picture per slide with a caption, at any size of cohort."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slpd.__main__ import main
from slpd.artifacts.colours import PEN, REGION, TISSUE
from slpd.artifacts.manifest import ManifestRow, write_manifest
from slpd.artifacts.mask import Ground
from slpd.artifacts.picture import read_picture, write_picture
from slpd.artifacts.regions import Region
from slpd.artifacts.slide_record import SlideRecord
from slpd.plots.overlay import contact_sheet, draw_outlines, draw_regions, fitting, load_font, with_caption, with_legend
from slpd.stages.plot_overlays import caption


def test_sheet_of_a_cohort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ok = SlideRecord(slide="a", path="x", n_regions=5, n_little_tissue=2, n_pen=0, n_invalid=1)
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
    ok = SlideRecord(slide="a", path="x", n_regions=5, n_little_tissue=2, n_pen=0, n_invalid=1)
    assert caption(ManifestRow(ok, None)) == ("a", "5 regions; excluded: 2 little tissue, 1 invalid")
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


def places(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """First and last row, first and last column of a colour."""
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_regions_are_drawn_where_they_lie_in_the_colour_of_their_state() -> None:
    regions = [Region(1, 2, 0, 0, 0.1, excluded="little tissue"), Region(3, 0, 0, 0, 1.0)]
    picture = draw_regions(np.zeros((100, 100, 3), np.uint8), regions, 20)
    assert np.allclose(places(picture, REGION["little tissue"]), (20, 40, 40, 60), atol=1)  # as thick as the line
    assert places(picture, REGION[""]) == (60, 80, 0, 20)
    assert tuple(picture[30, 50]) == REGION["little tissue"]  # crossed out
    assert tuple(picture[70, 10]) == (0, 0, 0)


def test_tissue_and_pen_are_outlined() -> None:
    tissue, pen = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    tissue[10:20, 10:20] = pen[30:50, 30:50] = True
    picture = draw_outlines(np.full((60, 60, 3), 240, np.uint8), Ground(tissue, pen, np.zeros_like(pen)))
    assert picture.shape == (600, 600, 3)
    assert places(picture, TISSUE) == (100, 199, 100, 199)
    assert places(picture, PEN) == (300, 499, 300, 499)


def test_legend_and_caption_stand_under_the_picture() -> None:
    picture = np.full((50, 600, 3), 7, np.uint8)
    for drawn in (with_legend(picture, [(TISSUE, "tissue"), (PEN, "pen")]), with_caption(picture, "too small " * 30)):
        assert np.array_equal(drawn[:50], picture)
        assert drawn.shape[1] == 600
        assert drawn[50:].std() > 1
    message = "slide a: no tissue of 0.05 mm² or more (pen marks cover 0.0%, padding 0.0%); look at it, leave it out"
    assert (with_caption(picture, message)[50:, -2:] == 255).all()  # no line is cut
    narrow = with_legend(picture[:, :150], [(TISSUE, "tissue"), (PEN, "pen")])
    assert narrow.shape[1] == 150
    assert (narrow[50:] == PEN).all(axis=2).any()  # on a line of its own
