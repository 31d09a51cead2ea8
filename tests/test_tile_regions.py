"""tile_regions: the grid, its tissue shares, and the reasons for which a slide has no regions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slpd.__main__ import main
from slpd.artifacts.slides.finished_slide import FinishedSlide, read_batch, write_batch
from slpd.artifacts.slides.mask import NOTHING, Ground, write_mask
from slpd.artifacts.slides.picture import read_picture, write_picture
from slpd.artifacts.slides.region_table import Region, read_grid, read_regions, write_regions
from slpd.artifacts.slides.slide_record import SlideRecord

Tile = Callable[..., tuple[int, SlideRecord, list[Region]]]

RECORD = SlideRecord(
    slide="s", path="s.tiff", reader="openslide", width_lv0=1000, height_lv0=700, slide_mpp=0.5, mpp_source="file"
)
COARSE = (
    "slide s: 5 µm/px is coarser than the 0.5 µm/px asked for; scanners make 0.1 to 1.1 µm/px, so {} is likely wrong,"
    " by ten say (0.5?): write the true resolution in the mpp column, or leave the slide out"
)
SETTINGS = {"mpp": 0.5, "region_px": 200, "min_tissue": 0.5, "max_pen": 1, "max_padding": 1}


@pytest.fixture
def tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tile:
    def run(
        record: SlideRecord = RECORD, ground: Ground | None = None, **settings: object
    ) -> tuple[int, SlideRecord, list[Region]]:
        settings = SETTINGS | settings
        ground = ground or ground_of(half_mask())
        (tmp_path / "regions/s.json").unlink(missing_ok=True)  # what is finished is not done again
        write_batch(tmp_path / "in.json", [FinishedSlide(fingerprint="f", record=record)])
        write_mask(tmp_path / "tissue/s.png", ground)
        write_picture(tmp_path / "tissue/s.jpg", np.full((*ground.tissue.shape, 3), 230, np.uint8))
        paths = {"records": "in.json", "tissue": "tissue", "folder": "regions", "out": "out.json"}
        argv = [text for key, name in paths.items() for text in (f"--{key}", str(tmp_path / name))]
        argv += ["--settings", json.dumps(settings), "--version", "1", "--threads", "1"]
        monkeypatch.setattr("sys.argv", ["slpd", "tile_regions", *argv])
        status = main()
        (finished,) = read_batch(tmp_path / "out.json")
        return status, finished.record, read_regions(tmp_path / "regions/s.csv")

    return run


def ground_of(
    tissue: NDArray[np.bool_], pen: NDArray[np.bool_] | None = None, padding: NDArray[np.bool_] | None = None
) -> Ground:
    nothing = np.zeros_like(tissue)
    return Ground(tissue, nothing if pen is None else pen, nothing if padding is None else padding)


def half_mask() -> NDArray[np.bool_]:
    """1000 x 700 level-0 px at 10 px per mask pixel: tissue left of x = 450."""
    mask = np.zeros((70, 100), bool)
    mask[:, :45] = True
    return mask


def test_regions_with_enough_tissue_are_kept_row_by_row(tile: Tile, tmp_path: Path) -> None:
    _, record, regions = tile()
    # Three whole rows and five whole columns of 200 px; columns 0 and 1 are full, column 2 has a quarter.
    assert regions == [Region(row, column, 200 * column, 200 * row, 1.0) for row in range(3) for column in range(2)]
    assert (record.status, record.n_regions, record.n_little_tissue, record.region_lv0) == ("ok", 6, 3, 200)
    assert (record.region_px, record.requested_mpp) == (200, 0.5)
    assert read_picture(tmp_path / "regions/overlays/s.jpg").std() > 1


def test_tissue_beyond_the_last_whole_region_is_recorded(tile: Tile) -> None:
    """A strip of 450 x 100 level-0 px of 0.5 µm lies below the grid: 0.01125 mm²."""
    assert tile()[1].outside_mm2 == pytest.approx(0.01125, abs=1e-4)
    assert tile(region_px=100)[1].outside_mm2 == pytest.approx(0, abs=1e-6)


def test_least_share_is_inclusive(tile: Tile) -> None:
    _, record, regions = tile(min_tissue=0.25)
    assert record.n_regions == 9
    assert record.n_little_tissue == 0
    assert regions[2] == Region(0, 2, 400, 0, 0.25)


def test_regions_are_as_large_in_micrometres_whatever_the_slide(tile: Tile) -> None:
    fine = RECORD.model_copy(update={"slide_mpp": 0.25, "width_lv0": 2000, "height_lv0": 1400})
    _, record, regions = tile(fine)
    assert record.region_lv0 == 400
    assert regions[1] == Region(0, 1, 400, 0, 1.0)
    assert len(regions) == 6


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (
            {"slide_mpp": 0.53},
            {},
            "slide s: 0.53 µm/px is coarser than the 0.5 µm/px asked for; leave it out or raise regions.mpp",
        ),
        ({"slide_mpp": 5.0, "mpp_source": "file"}, {}, COARSE.format("the file")),
        ({"slide_mpp": 5.0, "mpp_source": "sheet"}, {}, COARSE.format("the mpp column of the sheet")),
        ({}, {"region_px": 701}, "slide s: 1000 x 700 px is smaller than one region of 701 px (350.5 µm)"),
    ],
)
def test_slides_that_cannot_be_tiled(
    tile: Tile, change: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    status, record, regions = tile(RECORD.model_copy(update=change), **settings)
    assert (status, record.status, record.stage, regions) == (0, "failed", "tile_regions", [])
    assert record.reason.startswith(message)


def test_a_slide_five_percent_coarser_than_asked_is_taken(tile: Tile) -> None:
    assert tile(RECORD.model_copy(update={"slide_mpp": 0.525}))[1].status == "ok"


def test_no_region_with_enough_tissue_names_the_best(tile: Tile, tmp_path: Path) -> None:
    mask = half_mask()
    mask[:, 12:] = False  # 120 of 200 px
    _, record, regions = tile(ground=ground_of(mask), min_tissue=0.7)
    assert (record.status, record.stage, regions) == ("failed", "tile_regions", [])
    assert "of 3 regions with tissue none is kept: 3 below regions.min_tissue 0.7 (most tissue: 0.600)" in record.reason
    assert (record.n_regions, record.n_little_tissue, record.region_lv0) == (0, 3, 200)
    assert [region.excluded for region in read_grid(tmp_path / "regions/s.csv")] == ["little tissue"] * 3


def marked() -> Ground:
    """Tissue left of x = 450, but pen on the upper half of row 0 and padding on the lower 40 % of row 1."""
    pen, padding = np.zeros((70, 100), bool), np.zeros((70, 100), bool)
    pen[:10] = padding[32:40] = True
    return Ground(half_mask() & ~pen & ~padding, pen, padding)


def test_pen_and_padding_are_counted_and_by_default_kept(tile: Tile) -> None:
    _, record, regions = tile(ground=marked(), min_tissue=0.5)
    assert (record.n_regions, record.n_pen, record.n_padding) == (6, 0, 0)
    assert [(r.tissue_share, r.pen_share, r.padding_share) for r in regions[::2]] == [
        (0.5, 0.5, 0),
        (0.6, 0, 0.4),
        (1, 0, 0),
    ]


def test_pen_and_padding_exclude_above_their_shares(tile: Tile, tmp_path: Path) -> None:
    """Nine places: column 2 has a quarter of tissue at most."""
    _, record, regions = tile(ground=marked(), max_pen=0.4, max_padding=0.3)
    assert [(region.row, region.column) for region in regions] == [(2, 0), (2, 1)]
    assert (record.n_regions, record.n_little_tissue, record.n_pen, record.n_padding) == (2, 1, 3, 3)
    reasons = [region.excluded for region in read_grid(tmp_path / "regions/s.csv")]
    assert reasons == ["pen"] * 3 + ["padding"] * 3 + ["", "", "little tissue"]
    assert tile(ground=marked(), max_pen=0.5, max_padding=0.4)[1].n_regions == 6  # the largest shares are inclusive


def test_everything_under_pen_is_a_status_with_counts(tile: Tile) -> None:
    _, record, regions = tile(ground=marked(), max_pen=0, max_padding=0, min_tissue=1, region_px=350)
    assert (record.status, regions) == ("failed", [])
    assert "2 above regions.max_pen 0" in record.reason


def test_geojson_holds_outlines_and_all_regions(tile: Tile, tmp_path: Path) -> None:
    tile(ground=marked(), max_pen=0.4)
    features = json.loads((tmp_path / "regions/s.geojson").read_text())["features"]
    kinds = [feature["properties"]["objectType"] for feature in features]
    assert kinds == ["annotation"] * 2 + ["tile"] * 9
    first, last = features[2], features[-3]
    assert first["properties"]["classification"] == {"name": "Excluded: pen", "color": [0, 0, 0]}
    assert (first["properties"]["kept"], first["properties"]["reason"]) == (False, "pen")
    assert first["properties"]["measurements"] == {"tissue_share": 0.5, "pen_share": 0.5, "padding_share": 0}
    assert (last["properties"]["kept"], last["properties"]["classification"]["name"]) == (True, "Region")
    assert last["geometry"]["coordinates"] == [[[0, 400], [200, 400], [200, 600], [0, 600], [0, 400]]]


def test_outputs_are_the_same_bytes_again(tile: Tile, tmp_path: Path) -> None:
    names = ("s.csv", "s.geojson", "overlays/s.jpg", "s.json")
    tile(ground=marked())
    first = [(tmp_path / "regions" / name).read_bytes() for name in names]
    tile(ground=marked())
    assert first == [(tmp_path / "regions" / name).read_bytes() for name in names]


def test_a_failed_slide_is_passed_on_with_all_outputs(tile: Tile, tmp_path: Path) -> None:
    failed = SlideRecord(slide="s", path="s.tiff").failed("segment_tissue", "slide s: broken")
    status, record, regions = tile(failed, ground=NOTHING)
    assert (status, record, regions) == (0, failed, [])
    assert read_picture(tmp_path / "regions/overlays/s.jpg").std() > 1


def test_region_tables_are_read_as_written(tmp_path: Path) -> None:
    regions = [Region(0, 3, 600, 0, 0.1234, 0.5, 0.25, "pen"), Region(12, 0, 0, 2400, 1.0)]
    write_regions(tmp_path / "r.csv", regions)
    assert read_grid(tmp_path / "r.csv") == regions
    assert read_regions(tmp_path / "r.csv") == regions[1:]
    header = "row,column,x_lv0,y_lv0,tissue_share,pen_share,padding_share,excluded"
    assert (tmp_path / "r.csv").read_text().splitlines()[0] == header
