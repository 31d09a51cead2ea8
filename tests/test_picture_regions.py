"""`picture_regions`: every kept region has its picture in its place, and what has none says why."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import MakeSlide
from numpy.typing import NDArray

from slpd.__main__ import main
from slpd.artifacts.slides.finished_slide import FinishedSlide, write_batch
from slpd.artifacts.slides.picture import read_picture
from slpd.artifacts.slides.region_pictures import n_columns, place_of
from slpd.artifacts.slides.region_table import Region, write_regions
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.plots.contact_sheet import gap

pytestmark = pytest.mark.slides

REGION_PX = 256
COLOURS = {(0, 0): (200, 40, 40), (0, 2): (40, 160, 40), (1, 1): (40, 40, 200), (2, 0): (200, 160, 40)}
PLACES = list(COLOURS)


def write_slide(folder: Path, make_slide: MakeSlide, levels: tuple[int, ...] = (1, 4)) -> Path:
    """A slide of 3 x 3 regions, four of which have a colour of their own and are kept, with its table and record."""
    slide = np.full((3 * REGION_PX, 3 * REGION_PX, 3), 240, np.uint8)
    for (row, column), colour in COLOURS.items():
        slide[row * REGION_PX :, column * REGION_PX :][:REGION_PX, :REGION_PX] = colour
    kept = [Region(row, column, column * REGION_PX, row * REGION_PX, 1.0) for row, column in PLACES]
    excluded = Region(1, 0, 0, REGION_PX, 0.1, excluded="little tissue")
    write_regions(folder / "s.csv", [*kept[:2], excluded, *kept[2:]])
    path = make_slide(folder / "s.tiff", slide, mpp=0.5, levels=levels)
    write_record(folder, record(path))
    return path


def write_record(folder: Path, record: SlideRecord) -> None:
    """The batch as `tile_regions` leaves it."""
    write_batch(folder / "batch.json", [FinishedSlide(fingerprint="f", record=record)])


def record(path: Path) -> SlideRecord:
    return SlideRecord(slide="s", path=str(path), slide_mpp=0.5, region_lv0=REGION_PX)


def take(folder: Path, picture_px: int = 64) -> int:
    """Run the stage in this process; its exit status."""
    files = ["--records", f"{folder}/batch.json", "--regions", f"{folder}", "--folder", f"{folder}/pictures"]
    files += ["--out", f"{folder}/out.json", "--version", "1", "--threads", "1"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.argv", ["slpd", "picture_regions", "--picture-px", str(picture_px), *files])
        return main()


def cell(sheet: NDArray[np.uint8], number: int, side: int) -> NDArray[np.int64]:
    """The inner pixels of a place among two columns: JPEG and resampling blur its edge."""
    row, column = divmod(number, 2)
    square = sheet[row * side :, column * side :][:side, :side]
    return square[8:-8, 8:-8].reshape(-1, 3).astype(np.int64)


@pytest.mark.parametrize(("picture_px", "levels"), [(64, (1, 4)), (64, (1,)), (96, (1, 4)), (256, (1,)), (300, (1, 4))])
def test_every_kept_region_has_its_colour_in_its_place(
    tmp_path: Path, make_slide: MakeSlide, picture_px: int, levels: tuple[int, ...]
) -> None:
    write_slide(tmp_path, make_slide, levels)
    assert take(tmp_path, picture_px) == 0
    sheet = read_picture(tmp_path / "pictures/s.jpg")
    assert sheet.shape == (2 * picture_px, 2 * picture_px, 3)
    for number, place in enumerate(PLACES):
        assert np.abs(cell(sheet, number, picture_px) - COLOURS[place]).max() < 16


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9, 10, 101])
def test_places_are_distinct_and_fill_rows(n: int) -> None:
    places = [place_of(index, n, 10) for index in range(n)]
    assert len(set(places)) == n
    assert [(place.top, place.left) for place in places] == sorted((place.top, place.left) for place in places)
    assert max(place.left for place in places) + 10 == 10 * n_columns(n)
    assert n_columns(n) ** 2 >= n > (n_columns(n) - 1) ** 2


def test_a_coarse_level_is_read(tmp_path: Path, make_slide: MakeSlide) -> None:
    """Its pixels are read even where level 0 cannot be decoded."""
    path = write_slide(tmp_path, make_slide)
    with tifffile.TiffFile(path) as file:
        starts, counts = file.pages[0].dataoffsets, file.pages[0].databytecounts
    content = bytearray(path.read_bytes())
    for start, count in zip(starts, counts, strict=True):
        content[start : start + count] = bytes(count)
    path.write_bytes(content)
    assert take(tmp_path) == 0
    sheet = read_picture(tmp_path / "pictures/s.jpg")
    assert all(np.abs(cell(sheet, n, 64) - COLOURS[place]).max() < 16 for n, place in enumerate(PLACES))


def test_a_region_that_cannot_be_read_says_so_and_the_others_are_there(
    tmp_path: Path, make_slide: MakeSlide, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = write_slide(tmp_path, make_slide)
    with tifffile.TiffFile(path) as file:
        page = file.pages[1]  # 3 x 3 tiles of 64 px, one per region
        start, count = page.dataoffsets[2], page.databytecounts[2]
    content = bytearray(path.read_bytes())
    content[start : start + count] = bytes(count)
    path.write_bytes(content)
    assert take(tmp_path) == 0
    sheet = read_picture(tmp_path / "pictures/s.jpg")
    assert np.abs(cell(sheet, 0, 64) - COLOURS[0, 0]).max() < 16
    assert np.abs(cell(sheet, 1, 64) - cell(np.tile(gap(64), (1, 2, 1)), 1, 64)).mean() < 10
    assert "s: no picture at x 512, y 0" in caplog.text


def test_a_slide_that_failed_shows_its_reason(tmp_path: Path, make_slide: MakeSlide) -> None:
    path = write_slide(tmp_path, make_slide)
    write_record(tmp_path, record(path).failed("tile_regions", "slide s: too coarse"))
    write_regions(tmp_path / "s.csv", [])
    assert take(tmp_path) == 0
    picture = read_picture(tmp_path / "pictures/s.jpg")
    assert picture.shape == (300, 600, 3)  # the message that overlays have
    assert (picture < 100).any()


def test_a_slide_that_is_gone_shows_so(tmp_path: Path, make_slide: MakeSlide, caplog: pytest.LogCaptureFixture) -> None:
    write_slide(tmp_path, make_slide).unlink()
    assert take(tmp_path) == 0
    assert read_picture(tmp_path / "pictures/s.jpg").shape == (300, 600, 3)
    assert "no pictures: slide s:" in caplog.text


def test_a_sheet_that_no_jpeg_can_hold_is_refused(
    tmp_path: Path, make_slide: MakeSlide, capsys: pytest.CaptureFixture[str]
) -> None:
    write_slide(tmp_path, make_slide)
    write_regions(tmp_path / "s.csv", [Region(row, 0, 0, 0, 1.0) for row in range(65**2)])
    assert take(tmp_path, 1024) == 2
    assert "slide s: a sheet of 4225 regions would be 66560 px wide" in capsys.readouterr().err
    assert not (tmp_path / "pictures/s.jpg").exists()
