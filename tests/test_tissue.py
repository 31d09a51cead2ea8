"""Tissue is stain that varies from cell to cell; glass, clouds, edges, dust, ink and padding are not tissue."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from benchmarks import pens
from benchmarks.pens import drawn_tissue
from slpd.artifacts.slides.mask import Ground
from slpd.geometry.neighbourhood import reached
from slpd.tissue import drop_small, fill_small_holes, glass_colour, survey, why_no_stain
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


def survey_of(picture: Picture) -> Ground:
    return survey(picture, MPP, 0.05, 0.05)


def tissue_of(picture: Picture) -> NDArray[np.bool_]:
    return survey_of(picture).tissue


def stroke(width_px: int = 40) -> NDArray[np.float64]:
    """(400, 500, 1) share of ink, 0-1: a stroke with fading edges across the picture."""
    image = Image.new("L", (500, 400))
    ImageDraw.Draw(image).line([(30, 350), (250, 60), (470, 330)], fill=255, width=width_px, joint="curve")
    return np.asarray(image.filter(ImageFilter.GaussianBlur(3)))[..., None] / 255


def inked(picture: Picture, colour: tuple[int, int, int], share: NDArray[np.float64]) -> Picture:
    """The picture under ink: light passes through both."""
    return (picture * (np.array(colour) / 255) ** share).astype(np.uint8)


def large_tissue() -> Picture:
    """(400, 500, 3): glass with tissue in rows 150-350, columns 120-360."""
    picture = glass(400, 500)
    cells = np.random.default_rng(1).random((200, 240, 1)) < 0.4
    picture[150:350, 120:360] = np.where(cells, (120, 70, 150), (225, 170, 205))
    return picture


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


INKS = {
    "green": (30, 140, 110),
    "blue": (40, 60, 160),
    "royal blue": (30, 30, 150),
    "light blue": (60, 120, 190),
    "red": (210, 30, 45),
    "dark red": (160, 20, 30),
    "black": (40, 38, 42),
}


ON_GLASS = INKS | {
    "orange": (250, 150, 60),
    "thin orange": (250, 190, 115),
    "yellow": (250, 225, 80),
    "brown": (150, 90, 45),
    "pink": (254, 110, 180),
    "hot pink": (240, 60, 150),
}


@pytest.mark.parametrize("ink", ON_GLASS)
def test_a_stroke_of_ink_on_glass_is_pen_and_no_tissue(ink: str) -> None:
    share = stroke()
    found = survey_of(inked(glass(400, 500), ON_GLASS[ink], share))
    assert not found.tissue.any()
    assert found.pen[share[..., 0] > 0.5].mean() > 0.98
    far = ndimage.distance_transform_edt(share[..., 0] < 0.05) > 20  # 160 µm from the stroke's faint edge
    assert not found.pen[far].any()


@pytest.mark.parametrize("ink", INKS)
def test_ink_over_tissue_is_pen_and_the_rest_is_tissue(ink: str) -> None:
    share = stroke()
    found = survey_of(inked(large_tissue(), INKS[ink], share))
    assert found.pen[share[..., 0] > 0.9].mean() > 0.95
    clear = ndimage.distance_transform_edt(share[..., 0] < 0.05) > 20
    clear[:155] = clear[345:] = clear[:, :125] = clear[:, 355:] = False
    assert found.tissue[clear].mean() > 0.98


def test_tissue_without_ink_has_no_pen() -> None:
    assert not survey_of(large_tissue()).pen.any()


@pytest.fixture(scope="module")
def drawn() -> Picture:
    """(1600, 2000, 3): glass, and bands of five tissues, at 2 µm/px."""
    return drawn_tissue()


TINTS = [(238, 236, 240), (221, 208, 225), (245, 232, 205)]


@pytest.mark.parametrize("tint", TINTS)
@pytest.mark.parametrize("ink", ["red", "hot pink", "green", "blue"])
@pytest.mark.parametrize("model", ["light passes both", "blended"])
def test_a_stroke_that_fades_on_glass_of_any_tint_is_pen(ink: str, tint: tuple[int, int, int], model: str) -> None:
    """To a quarter of its ink: densities are those above the slide's own glass."""
    colour, picture = ON_GLASS[ink], glass(400, 500, tint)
    share = stroke() * np.linspace(1, 0.25, 500)[None, :, None]
    marked = inked(picture, colour, share) if model != "blended" else picture * (1 - share) + np.array(colour) * share
    found = survey_of(marked.astype(np.uint8))
    core = ndimage.minimum_filter(stroke()[..., 0], 7) > 0.9
    assert found.pen[core].mean() > 0.95
    assert found.tissue[core].mean() < 0.05


@pytest.mark.parametrize("ink", ["red", "hot pink", "green", "blue", "black"])
def test_a_dry_pen_is_found_over_glass(ink: str) -> None:
    """Streaks of 60 % ink and gaps, together half of the stroke."""
    streaks = ndimage.gaussian_filter1d(np.random.default_rng(0).normal(size=900), 3) > 0
    y, x = np.mgrid[:400, :500]
    share = stroke(60) * np.where(streaks[y + x // 2], 0.6, 0.1)[..., None]
    found = survey_of(inked(glass(400, 500), ON_GLASS[ink], share))
    dense = share[..., 0] > 0.3
    assert found.tissue[dense].mean() < 0.1
    assert found.pen[dense].mean() > 0.85


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ink", "mpp"),
    [("red", 2.0), *((ink, mpp) for ink in ("red", "green", "blue", "black") for mpp in (4.0, 16.0, 24.0))],
)
def test_strokes_are_found_at_other_resolutions(drawn: Picture, ink: str, mpp: float) -> None:
    picture, share = drawn, pens.stroke((1600, 2000), "dense")
    factor = round(mpp / pens.BASE_MPP)
    found = pens.measure(picture, share, INKS[ink], factor)
    assert found["pen"] > 0.98
    assert found["tissue"] < 0.02
    assert found["lost"] < 0.005
    assert found["clean_pen"] == 0  # blood, mucin, fat and pale stroma among it


def test_all_that_is_no_ink_is_tissue(drawn: Picture) -> None:
    """Bands of stroma with nuclei, pale stroma, fat, mucin and a lake of red cells, down the right half."""
    picture = pens.reduced(drawn, 4).round().astype(np.uint8)
    found = survey(picture, MPP, 0.05, 0.05)
    for band in range(5):
        rows = slice(80 * band + 10, 80 * band + 70)
        assert found.tissue[rows, 270:480].mean() > (0.6 if band == 1 else 0.95), band  # 1: as pale as a third
    assert not found.pen.any()


def test_the_glass_is_the_brightest_smooth_part() -> None:
    nothing = np.zeros((400, 500), bool)
    for tint in TINTS:
        picture = large_tissue()
        picture[:150] = glass(150, 500, tint)
        picture[350:] = picture[:50]
        picture[:, :120] = picture[:, 360:480] = glass(400, 120, tint)
        picture[:, 480:] = glass(400, 20, tint)
        assert np.abs(glass_colour(picture, nothing, MPP).astype(int) - tint).max() <= 1
    full = with_tissue(glass())[SPECKLED]
    assert glass_colour(full, nothing[:100, :100], MPP).tolist() == [255] * 3


def test_dark_field_and_grey_pictures_are_recognised() -> None:
    """Fluorescence on black or on noise, and grey; not tissue all over, pale glass, or black fill beside tissue."""
    rng = np.random.default_rng(0)
    dark = np.zeros((200, 250, 3), np.uint8)
    dark[50:150, 60:160, 1] = rng.integers(30, 250, (100, 100))
    noise = (dark + rng.integers(3, 8, dark.shape)).clip(0, 255).astype(np.uint8)
    grey = np.repeat(with_tissue(glass()).mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
    assert "dark where there is nothing" in why_no_stain(dark)
    assert "dark where there is nothing" in why_no_stain(noise)
    assert "grey" in why_no_stain(grey)
    filled = with_tissue(glass())
    filled[:, :40] = filled[170:] = 0
    for picture in (glass(), large_tissue(), with_tissue(glass())[SPECKLED], filled, np.zeros((20, 20, 3), np.uint8)):
        assert why_no_stain(picture) == ""


@pytest.mark.parametrize("grey", [0, 255], ids=["black", "white"])
def test_fields_without_a_picture_are_padding(grey: int) -> None:
    picture = with_tissue(glass())
    picture[:40] = picture[:, 200:] = grey
    found = survey_of(picture)
    expected = np.zeros(picture.shape[:2], bool)
    expected[:40] = expected[:, 200:] = True
    assert (found.padding ^ expected).mean() < 0.01
    assert not found.pen.any()
    assert not found.tissue[expected].any()
    assert found.tissue[55:145, 65:155].all()


def test_edges_shadow_and_dust_are_glass() -> None:
    """A coverslip's edge, a darker area behind it, a shadow that sets in slowly, and 300 grains of dust."""
    picture = glass(400, 500).astype(float)
    picture[:, :60] *= 0.75
    picture[:, 58:62] *= 0.4
    picture[250:] *= np.linspace(1, 0.7, 150)[:, None, None]
    rng = np.random.default_rng(2)
    for y, x in zip(rng.integers(0, 398, 300), rng.integers(0, 498, 300), strict=True):
        picture[y : y + rng.integers(1, 4), x : x + rng.integers(1, 4)] *= rng.uniform(0.2, 0.7)
    found = survey_of(picture.astype(np.uint8))
    assert not any(mask.any() for mask in found)


def test_pale_tissue_is_found() -> None:
    """A third of the stain: 0.1 of density in pink, 0.2 in nuclei."""
    pale = 240 * (large_tissue() / 240) ** 0.33
    found = tissue_of(pale.clip(0, 255).astype(np.uint8))
    assert found[155:345, 125:355].mean() > 0.98
    assert found.sum() < 200 * 240 * 1.1


def test_fat_is_tissue() -> None:
    """Empty cells of 80 µm between strands of 16 µm."""
    picture = glass(400, 500)
    strands = np.zeros((200, 240), bool)
    strands[::12] = strands[1::12] = strands[:, ::12] = strands[:, 1::12] = True
    picture[150:350, 120:360][strands] = (225, 170, 205)
    assert tissue_of(picture)[155:345, 125:355].mean() > 0.98


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


def test_pieces_that_a_seed_touches_are_reached() -> None:
    area = np.array([[1, 1, 0, 1, 1, 0, 0]], bool)
    seeds = np.array([[0, 1, 0, 0, 0, 0, 1]], bool)
    assert np.array_equal(reached(area, seeds), [[1, 1, 0, 0, 0, 0, 1]])


@pytest.mark.skipif(not DATA.is_dir(), reason="no real slides here")
def test_a_real_green_pen_over_tissue() -> None:
    """The picture has about 4 µm/px; boxes (8 µm/px) were set by eye: in the stroke, and beside it."""
    with Image.open(DATA / "qc" / "tcga-green-pen.png") as image:
        picture = np.asarray(image.convert("RGB").resize((image.width // 2, image.height // 2), Image.Resampling.BOX))
    found = survey_of(picture)
    for top, bottom, left, right in [
        (0, 90, 175, 210),
        (130, 165, 130, 165),
        (240, 315, 95, 120),
        (280, 315, 120, 146),
        (10, 60, 212, 238),
    ]:
        assert found.pen[top:bottom, left:right].mean() > 0.95
    assert found.tissue[:, 256:].all()
    assert found.tissue[:, :60].all()


@pytest.mark.skipif(not DATA.is_dir(), reason="no real slides here")
def test_white_fill_of_a_real_slide_is_padding() -> None:
    """The archive filled the picture's corners with white; the steps of the scanned fields are kept glass."""
    with Slide("x", DATA / "slides" / "TCGA-CR-7395-01A-01-TS1.svs", 0.5) as slide:
        found = survey_of(slide.thumbnail(MPP))
    assert found.padding[:28, :160].mean() > 0.98
    assert found.padding[190:, :40].mean() > 0.98
    assert 0.6 < found.tissue.mean() < 0.7
    assert not found.pen.any()


@pytest.mark.skipif(not DATA.is_dir(), reason="no real slides here")
@pytest.mark.parametrize("kind", ["lung_aca", "lung_n", "lung_scc"])
def test_real_tissue_of_many_colours_is_tissue_and_no_pen(kind: str) -> None:
    """400 tiles of 112 µm, stained in every shade, some with soot in them, laid side by side on glass."""
    tiles = [block_means(path) for path in sorted((DATA / "lung-tiles" / kind).glob("*.jpeg"))[:400]]
    picture = glass(320, 320, (243, 243, 243))
    picture[20:300, 20:300] = np.array(tiles).reshape(20, 20, 14, 14, 3).swapaxes(1, 2).reshape(280, 280, 3)
    found = survey_of(picture)
    assert found.tissue[20:300, 20:300].mean() > 0.99
    assert not found.pen.any()


def block_means(path: Path) -> NDArray[np.float64]:
    """(14, 14, 3) of a tile of 224 px."""
    with Image.open(path) as image:
        means: NDArray[np.float64] = np.asarray(image.convert("RGB")).reshape(14, 16, 14, 16, 3).mean(axis=(1, 3))
    return means


@pytest.mark.skipif(not DATA.is_dir(), reason="no real slides here")
@pytest.mark.parametrize(
    ("name", "mm2", "glass_boxes"),
    # ranges and boxes (top, bottom, left, right; 8 µm/px; glass, spots, clouds) set by eye on the overlays
    [
        ("her2st_B4.tiff", (11, 13), [(0, 250, 0, 797), (520, 853, 720, 797), (782, 853, 0, 797), (150, 270, 60, 140)]),
        ("her2st_C2.tiff", (6.5, 8.5), [(0, 260, 0, 798), (300, 500, 0, 120), (200, 500, 700, 798)]),
        ("CMU-1-Small-Region.svs", (0.5, 0.8), [(110, 185, 0, 30), (0, 40, 100, 138)]),
    ],
)
def test_real_slides(name: str, mm2: tuple[float, float], glass_boxes: list[tuple[int, int, int, int]]) -> None:
    with Slide("x", DATA / "slides" / name, None) as slide:
        found = survey(slide.thumbnail(MPP), MPP, 0.1, 0.1).tissue
    assert mm2[0] < found.sum() * (MPP / 1000) ** 2 < mm2[1]
    for top, bottom, left, right in glass_boxes:
        assert not found[top:bottom, left:right].any()
