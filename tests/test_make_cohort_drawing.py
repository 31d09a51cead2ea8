"""The parts slides are drawn from: ellipses, stains, tissue maps, outlines, the slide file."""

import math
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile

from slpd.settings.synthetic import Flaw
from slpd.synthetic.ellipses import Ellipses, stamp
from slpd.synthetic.flaws import add_flaw
from slpd.synthetic.nuclei import fibre_angles, ring_around, scatter
from slpd.synthetic.outline import tissue_outline
from slpd.synthetic.phenotypes import NAMES, PHENOTYPES, varied
from slpd.synthetic.seeding import named_rng
from slpd.synthetic.slide_file import halved, write_slide
from slpd.synthetic.stain import Stain, colour
from slpd.synthetic.tissue_map import arrange


def ellipses(*rows: tuple[float, float, float, float, float, float]) -> Ellipses:
    """Ellipses of (x, y, long, short, angle, strength)."""
    table = np.array(rows, np.float32)
    return Ellipses(table[:, :2], table[:, 2:4], table[:, 4], table[:, 5])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_stamp_equals_a_loop_over_pixels() -> None:
    rows = [(20.3, 15.7, 9, 4, 0.6, 1.0), (1.0, 2.0, 5, 5, 0.0, 0.5), (30.0, 28.0, 3, 1.5, 2.0, 0.8)]
    canvas = np.zeros((30, 40), np.float32)
    stamp(canvas, ellipses(*rows), paleness=0.4)
    expected = np.zeros_like(canvas)
    for y in range(30):
        for x in range(40):
            for cx, cy, long, short, angle, strength in rows:
                along = (x - cx) * math.cos(angle) + (y - cy) * math.sin(angle)
                across = (y - cy) * math.cos(angle) - (x - cx) * math.sin(angle)
                rho = math.hypot(along / long, across / short)
                cover = min(max((1 - rho) * short + 0.5, 0), 1)
                value = strength * cover * (1 - 0.4 * max(1 - rho**2, 0))
                expected[y, x] = max(expected[y, x], value)
    np.testing.assert_allclose(canvas, expected, atol=1e-5)


def test_stamped_area_is_that_of_the_ellipse() -> None:
    canvas = np.zeros((120, 120), np.float32)
    stamp(canvas, ellipses((60, 60, 40, 20, 0.7, 1.0)), paleness=0)
    assert canvas.sum() == pytest.approx(math.pi * 40 * 20, rel=0.02)


def test_rim_points_lie_on_the_ellipse() -> None:
    one = ellipses((5, 5, 4, 2, math.pi / 2, 1.0))
    np.testing.assert_allclose(one.rim(np.float32(0)), [[5, 9]], atol=1e-5)
    np.testing.assert_allclose(one.rim(np.float32(math.pi / 2)), [[3, 5]], atol=1e-5)


def test_scattered_places_are_apart_and_within(rng: np.random.Generator) -> None:
    here = np.zeros((200, 200), bool)
    here[50:150, 20:180] = True
    places = scatter(here, 10, 0.1, rng)
    assert here[places[:, 1].astype(int), places[:, 0].astype(int)].all()
    gaps = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)) + 1e3 * np.eye(len(places))
    assert gaps.min() > 10 * (0.87 - 2 * 0.1 * math.sqrt(2)) - 0.1
    assert len(places) == pytest.approx(100 * 160 / (10 * 8.7), rel=0.1)


def test_ring_stands_around_its_hole(rng: np.random.Generator) -> None:
    places, angles = ring_around(ellipses((50, 50, 20, 20, 0, 1), (150, 50, 10, 10, 1, 1)), 10, 6, rng)
    first = places[:, 0] < 100
    assert np.count_nonzero(first) == round(2 * math.pi * 30 / 6)
    outwards = places - np.where(first[:, None], [50, 50], [150, 50])
    np.testing.assert_allclose(np.hypot(*outwards.T), np.where(first, 30, 20), rtol=0.4)
    away = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert (np.sum(away * outwards, axis=1) > 0.9 * np.hypot(*outwards.T)).all()


def test_fibre_angles_follow_the_contours_of_the_phase() -> None:
    y, x = np.mgrid[:50, :50].astype(np.float32)
    phase = np.float32(0.3) * (x * math.sin(0.4) - y * math.cos(0.4))  # constant along a line at 0.4 rad
    (angle,) = fibre_angles(np.array([[25, 25]], np.float32), phase.astype(np.float32))
    assert math.sin(angle - 0.4) == pytest.approx(0, abs=1e-4)  # a line has no sense of direction


def test_colour_follows_lambert_beer(rng: np.random.Generator) -> None:
    stain = Stain(np.array([[0.6, 0.7, 0.3], [0.2, 0.8, 0.5]], np.float32), np.full(3, 240, np.float32))
    shape = (64, 64)
    rgb = colour(np.full(shape, 0.5, np.float32), np.full(shape, 0.25, np.float32), stain, rng)
    expected = [240 * 10 ** -(0.5 * h + 0.25 * e) for h, e in ((0.6, 0.2), (0.7, 0.8), (0.3, 0.5))]
    np.testing.assert_allclose(rgb.mean(axis=(0, 1)), expected, atol=1.5)


@pytest.mark.parametrize("flaw", ["pen", "blur", "padding"])
def test_a_flaw_leaves_most_of_a_slide_as_it_is(flaw: Flaw, rng: np.random.Generator) -> None:
    rgb = rng.integers(100, 200, (300, 400, 3), dtype=np.uint8)
    changed = (add_flaw(rgb, flaw, rng) != rgb).any(axis=2)
    assert 0.02 < changed.mean() <= 0.5
    assert not changed[:, :80].any()


def test_patients_differ_in_what_a_kind_looks_like_by_the_spread_alone(rng: np.random.Generator) -> None:
    assert varied(0, rng) == PHENOTYPES
    looks = np.array([np.log(varied(0.2, rng)["gland"].nuclei.radius_um) for _ in range(400)])
    assert looks.mean() == pytest.approx(np.log(PHENOTYPES["gland"].nuclei.radius_um), abs=0.04)
    assert looks.std() == pytest.approx(0.2, abs=0.03)


def test_tissue_map_holds_the_shares_in_territories_of_whole_parcels(rng: np.random.Generator) -> None:
    tissue = np.zeros((120, 140), bool)
    tissue[10:110, 20:120] = True  # 20 x 20 parcels of 5 cells
    kinds = arrange(tissue, {"gland": 0.5, "fat": 0.3, "stroma": 0.2}, 20, 5, rng)
    counts = np.bincount(kinds[tissue], minlength=len(NAMES))
    assert dict(zip(NAMES, counts.tolist(), strict=True)) == dict.fromkeys(NAMES, 0) | {
        "gland": 5000,
        "fat": 3000,
        "stroma": 2000,
    }
    parcels = kinds[10:110, 20:120].reshape(20, 5, 20, 5).swapaxes(1, 2).reshape(20, 20, 25)
    assert (parcels == parcels[..., :1]).all()
    right, below = parcels[:, 1:, 0] == parcels[:, :-1, 0], parcels[1:, :, 0] == parcels[:-1, :, 0]
    assert min(right.mean(), below.mean()) > 0.8  # next to a parcel is another of its kind, by chance in 0.38


def test_parcels_are_shared_out_where_they_hold_any_tissue(rng: np.random.Generator) -> None:
    tissue = np.zeros((23, 17), bool)  # no multiple of a parcel's side
    tissue[0, 0] = tissue[22, 16] = True
    kinds = arrange(tissue, {"gland": 0.5, "fat": 0.5}, 20, 5, rng)
    assert kinds.shape == tissue.shape
    assert {NAMES[number] for number in kinds[tissue]} == {"gland", "fat"}


@pytest.mark.parametrize("seed", range(5))
def test_outline_covers_its_share_and_leaves_a_border(seed: int) -> None:
    mask = tissue_outline((150, 200), 0.6, np.random.default_rng(seed))
    assert mask.mean() == pytest.approx(0.6, abs=0.01)
    assert not (mask[[0, -1]].any() or mask[:, [0, -1]].any())


def test_halved_rounds_means_of_four() -> None:
    rgb = np.zeros((3, 5, 3), np.uint8)
    rgb[:2, :2, 0] = [[1, 2], [3, 4]]  # mean 2.5
    rgb[:2, 2:4, 1] = [[255, 255], [255, 254]]  # mean 254.75
    small = halved(rgb)
    assert small.shape == (1, 2, 3)
    assert small[0, 0, 0] == 3
    assert small[0, 1, 1] == 255


@pytest.mark.parametrize(("mpp", "n_levels"), [(0.5, 2), (0.25, 2), (None, 2)])
def test_slide_file_is_a_pyramid_that_openslide_reads(tmp_path: Path, mpp: float | None, n_levels: int) -> None:
    rgb = np.full((700, 1300, 3), 200, np.uint8)
    rgb[:300, :500] = (150, 60, 140)
    write_slide(tmp_path / "slide.tiff", rgb, mpp, 85)
    with openslide.OpenSlide(tmp_path / "slide.tiff") as slide:
        assert slide.level_dimensions == ((1300, 700), (650, 350))[:n_levels]
        assert slide.properties["openslide.level[0].tile-width"] == "256"
        assert slide.properties.get("openslide.mpp-x") == (None if mpp is None else str(mpp))
        read = np.asarray(slide.read_region((0, 0), 0, (1300, 700)).convert("RGB"))
    np.testing.assert_allclose(read[:280, :480], rgb[:280, :480], atol=4)
    with tifffile.TiffFile(tmp_path / "slide.tiff") as file:
        assert file.pages[0].compression == tifffile.COMPRESSION.JPEG
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.YCBCR


def test_named_generators_differ_by_name_and_by_seed() -> None:
    draws = {named_rng(seed, *names).random() for seed in (1, 2) for names in (("a", "b"), ("a", "c"), ("ab",))}
    assert len(draws) == 6
    assert named_rng(1, "a", "b").random() in draws
