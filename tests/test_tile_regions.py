"""tile_regions: the grid, its tissue shares, and the reasons for which a slide has no regions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from slpd.__main__ import main
from slpd.artifacts.mask import NO_TISSUE, write_mask
from slpd.artifacts.picture import read_picture, write_picture
from slpd.artifacts.regions import Region, read_regions, write_regions
from slpd.artifacts.slide_record import SlideRecord, read_record

Tile = Callable[..., tuple[int, SlideRecord, list[Region]]]

RECORD = SlideRecord(
    slide="s", path="s.tiff", reader="openslide", width_lv0=1000, height_lv0=700, slide_mpp=0.5, mpp_source="file"
)


@pytest.fixture
def tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tile:
    def run(
        record: SlideRecord = RECORD, mask: NDArray[np.bool_] | None = None, **settings: object
    ) -> tuple[int, SlideRecord, list[Region]]:
        settings = {"mpp": 0.5, "region_px": 200, "min_tissue": 0.5} | settings
        mask = half_mask() if mask is None else mask
        record.write(tmp_path / "in.json")
        write_mask(tmp_path / "mask.png", mask)
        write_picture(tmp_path / "thumbnail.jpg", np.full((*mask.shape, 3), 230, np.uint8))
        arguments = {
            "record": "in.json",
            "mask": "mask.png",
            "thumbnail": "thumbnail.jpg",
            "regions": "s.csv",
            "overlay": "s.jpg",
            "out-record": "s.json",
        }
        argv = [text for key, name in arguments.items() for text in (f"--{key}", str(tmp_path / name))]
        monkeypatch.setattr("sys.argv", ["slpd", "tile_regions", "--settings", json.dumps(settings), *argv])
        status = main()
        return status, read_record(tmp_path / "s.json"), read_regions(tmp_path / "s.csv")

    return run


def half_mask() -> NDArray[np.bool_]:
    """1000 x 700 level-0 px at 10 px per mask pixel: tissue left of x = 450."""
    mask = np.zeros((70, 100), bool)
    mask[:, :45] = True
    return mask


def test_regions_with_enough_tissue_are_kept_row_by_row(tile: Tile, tmp_path: Path) -> None:
    _, record, regions = tile()
    # Three whole rows and five whole columns of 200 px; columns 0 and 1 are full, column 2 has a quarter.
    assert regions == [Region(row, column, 200 * column, 200 * row, 1.0) for row in range(3) for column in range(2)]
    assert (record.status, record.n_regions, record.n_rejected, record.region_lv0) == ("ok", 6, 3, 200)
    assert (record.region_px, record.requested_mpp) == (200, 0.5)
    assert read_picture(tmp_path / "s.jpg").std() > 1


def test_least_share_is_inclusive(tile: Tile) -> None:
    _, record, regions = tile(min_tissue=0.25)
    assert record.n_regions == 9
    assert record.n_rejected == 0
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
        ({"slide_mpp": 0.53}, {}, "slide s: 0.53 µm/px is coarser than the 0.5 µm/px asked for"),
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


def test_no_region_with_enough_tissue_names_the_best(tile: Tile) -> None:
    mask = half_mask()
    mask[:, 12:] = False  # 120 of 200 px
    _, record, regions = tile(mask=mask, min_tissue=0.7)
    assert regions == []
    assert "min_tissue 0.7; the best of 15 has 0.600" in record.reason


def test_a_failed_slide_is_passed_on_with_all_outputs(tile: Tile, tmp_path: Path) -> None:
    failed = SlideRecord(slide="s", path="s.tiff").failed("segment_tissue", "slide s: broken")
    status, record, regions = tile(failed, mask=NO_TISSUE)
    assert (status, record, regions) == (0, failed, [])
    assert read_picture(tmp_path / "s.jpg").std() > 1


def test_region_tables_are_read_as_written(tmp_path: Path) -> None:
    regions = [Region(0, 3, 600, 0, 0.1234), Region(12, 0, 0, 2400, 1.0)]
    write_regions(tmp_path / "r.csv", regions)
    assert read_regions(tmp_path / "r.csv") == regions
    assert (tmp_path / "r.csv").read_text().splitlines()[0] == "row,column,x_lv0,y_lv0,tissue_share"
