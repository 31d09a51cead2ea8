"""Tissue is found where density varies from cell to cell; glass, clouds, ink and padding are not tissue."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from slpd.tissue import drop_small, fill_small_holes, find_tissue
from slpd.wsi import Slide

Picture = NDArray[np.uint8]  # (h, w, 3)

DATA = Path(__file__).parents[2] / "shared" / "data"
MPP = 8.0
SPECKLED = (slice(50, 150), slice(60, 160))


def glass(height: int = 200, width: int = 250, colour: tuple[int, int, int] = (238, 236, 240)) -> Picture:
    noise = np.random.default_rng(0).normal(0, 1, (height, width, 1))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def with_tissue(picture: Picture) -> Picture:
    rng = np.random.default_rng(1)
    cells = rng.random((100, 100, 1)) < 0.4
    picture[SPECKLED] = np.where(cells, (120, 70, 150), (225, 170, 205))
    return picture


def tissue_of(picture: Picture) -> NDArray[np.bool_]:
    return find_tissue(picture, MPP, 0.05, 0.05)


def test_tissue_is_outlined_within_a_window() -> None:
    found = tissue_of(with_tissue(glass()))
    inside = np.zeros_like(found)
    inside[55:145, 65:155] = True
    outside = np.ones_like(found)
    outside[45:155, 55:165] = False
    assert found[inside].all()
    assert not found[outside].any()


@pytest.mark.parametrize("colour", [(255, 255, 255), (238, 236, 240), (205, 195, 225), (200, 200, 200)])
def test_blank_glass_has_no_tissue(colour: tuple[int, int, int]) -> None:
    assert not tissue_of(glass(colour=colour)).any()


def test_a_dye_cloud_is_no_tissue() -> None:
    picture = glass().astype(float)
    y, x = np.mgrid[:200, :250]
    cloud = np.exp(-((y - 100) ** 2 + (x - 125) ** 2) / 2 / 40**2)[..., None]
    picture *= 1 - cloud * np.array([0.02, 0.2, 0.08])  # pink: green density up to 0.1
    assert not tissue_of(picture.astype(np.uint8)).any()


@pytest.mark.parametrize("colour", [(30, 140, 110), (0, 0, 0), (25, 22, 24)], ids=["green ink", "padding", "black ink"])
def test_ink_and_padding_are_no_tissue(colour: tuple[int, int, int]) -> None:
    picture = glass()
    picture[60:140, 30:200] = colour
    assert not tissue_of(picture).any()


def test_smooth_dense_tissue_is_tissue() -> None:
    picture = glass()
    picture[60:140, 30:200] = (200, 90, 150)
    assert tissue_of(picture)[65:135, 35:195].all()


def test_dust_is_dropped_and_small_holes_are_filled() -> None:
    picture = with_tissue(glass())
    picture[20:23, 200:203] = (120, 70, 150)  # 24 µm of dust
    picture[90:105, 90:105] = 240  # 0.014 mm² of hole
    found = tissue_of(picture)
    assert not found[:40].any()
    assert found[90:105, 90:105].all()


def test_a_large_hole_stays_open() -> None:
    picture = with_tissue(glass())
    picture[75:125, 85:135] = 240  # 0.16 mm²
    assert not tissue_of(picture)[85:115, 95:125].any()


def test_a_slide_full_of_tissue_and_one_of_a_single_pixel() -> None:
    picture = with_tissue(glass())[SPECKLED]
    assert tissue_of(picture).all()
    assert tissue_of(glass(1, 1)).shape == (1, 1)
    assert not tissue_of(glass(1, 1)).any()


def test_pieces_and_holes_are_counted_in_pixels() -> None:
    mask = np.zeros((9, 9), bool)
    mask[1:8, 1:8] = True
    mask[3:5, 3:5] = False  # a hole of 4
    mask[8, 8] = False
    assert fill_small_holes(mask, 5)[3:5, 3:5].all()
    assert np.array_equal(fill_small_holes(mask, 4), mask)
    lone = np.zeros((9, 9), bool)
    lone[0, 0] = lone[5:7, 5:7] = True
    assert drop_small(lone, 2).sum() == 4


@pytest.mark.skipif(not DATA.is_dir(), reason="no real slides here")
@pytest.mark.parametrize(
    ("name", "mm2", "glass_boxes"),
    # ranges and boxes (top, bottom, left, right; 8 µm/px; glass, spots, clouds) set by eye on the overlays
    [
        ("her2st_B4.tiff", (11, 13), [(0, 250, 0, 797), (520, 853, 720, 797), (780, 853, 0, 797), (150, 270, 60, 140)]),
        ("her2st_C2.tiff", (6.5, 8.5), [(0, 260, 0, 798), (300, 500, 0, 120), (200, 500, 700, 798)]),
        ("CMU-1-Small-Region.svs", (0.5, 0.8), [(110, 185, 0, 30), (0, 40, 100, 138)]),
    ],
)
def test_real_slides(name: str, mm2: tuple[float, float], glass_boxes: list[tuple[int, int, int, int]]) -> None:
    with Slide("x", DATA / "slides" / name, None) as slide:
        found = find_tissue(slide.thumbnail(MPP), MPP, 0.1, 0.1)
    assert mm2[0] < found.sum() * (MPP / 1000) ** 2 < mm2[1]
    for top, bottom, left, right in glass_boxes:
        assert not found[top:bottom, left:right].any()
