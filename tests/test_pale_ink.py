"""Ink that pales over tissue is followed from where it is dense; tissue of its colour elsewhere stays tissue.

Tissue is drawn as amounts of two stains, and ink is laid over it in two ways: as light that passes through both, and as
paint that covers.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from slpd.artifacts.slides.mask import Ground
from slpd.pale_ink import ink_filter
from slpd.tissue import survey
from slpd.wsi import Slide

Picture = NDArray[np.uint8]  # (h, w, 3)
Density = NDArray[np.float64]  # (h, w, 3) optical density above glass
Share = NDArray[np.float64]  # (h, w, 1) of the full ink, 0-1
Colour = tuple[int, int, int]

DATA = Path(__file__).parents[2] / "shared" / "data"
GLASS = np.array([241, 238, 240])
HAEMATOXYLIN, EOSIN = np.array([0.55, 0.75, 0.28]), np.array([0.07, 0.50, 0.22])  # densities of full stain
BLOOD = np.array([0.08, 0.48, 0.40])
INKS = {
    "red": (215, 35, 50),
    "dark red": (160, 20, 30),
    "hot pink": (240, 60, 150),
    "green": (30, 140, 110),
    "blue": (40, 60, 160),
    "black": (40, 38, 42),
}
SHAPE = (500, 700)


def field(seed: int, scale_px: float) -> NDArray[np.float64]:
    """(h, w, 1) smooth noise, 0-1."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), scale_px)
    return (0.5 + noise / noise.std() / 4).clip(0, 1)[..., None]


def stained() -> Density:
    """(h, w, 3) densities of tissue of two stains, with glass around it."""
    nuclei = (np.random.default_rng(0).random((*SHAPE, 1)) < 0.25) * field(1, 20)
    densities: Density = nuclei * HAEMATOXYLIN + (0.2 + 0.6 * field(2, 8)) * EOSIN
    densities[:60] = densities[-60:] = densities[:, :60] = densities[:, -60:] = 0
    return densities


def picture_of(densities: Density, mpp: float) -> Picture:
    """The picture at 8 µm/px with a camera's noise, then at another resolution."""
    light = GLASS * 10**-densities + np.random.default_rng(3).normal(0, 1.5, densities.shape)
    scale = (8 / mpp, 8 / mpp, 1)
    return ndimage.zoom(light, scale, order=1, grid_mode=True, mode="nearest").clip(0, 255).astype(np.uint8)


def fading_band() -> Share:
    """A stroke of 560 µm across the picture that pales from left to right, to nothing."""
    band = np.zeros(SHAPE)
    band[210:280] = np.linspace(1.3, 0, SHAPE[1]).clip(0, 1)
    return ndimage.gaussian_filter(band, 3)[..., None]


def under_ink(densities: Density, colour: Colour, share: Share) -> Density:
    """Densities of tissue and ink, which add up."""
    return densities - share * np.log10(np.array(colour) / 255)


def painted(densities: Density, colour: Colour, share: Share) -> Density:
    """Densities of a picture that is blended with a colour."""
    blend = (1 - 0.8 * share) * GLASS * 10**-densities + 0.8 * share * np.array(colour)
    return -np.log10(blend / GLASS)


def survey_at(densities: Density, mpp: float = 8.0) -> Ground:
    return survey(picture_of(densities, mpp), mpp, 0.05, 0.05)


def at_8_um(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask of any resolution in pixels of 8 µm."""
    rows, columns = ((np.arange(n) + 0.5) * m / n for n, m in zip(SHAPE, mask.shape, strict=True))
    return mask[rows.astype(int)][:, columns.astype(int)]


@pytest.mark.parametrize(
    ("ink", "laid"),
    [(ink, under_ink) for ink in ("red", "dark red", "green", "blue", "black")]
    + [(ink, painted) for ink in ("red", "green", "black")],
)
def test_ink_that_pales_over_tissue_is_pen(ink: str, laid: Callable[[Density, Colour, Share], Density]) -> None:
    share = fading_band()
    found = survey_at(laid(stained(), INKS[ink], share))
    inked, clear = share[..., 0] > 0.25, ndimage.distance_transform_edt(share[..., 0] < 0.02) > 20
    assert found.pen[inked].mean() > 0.95
    assert found.tissue[inked].mean() < 0.05
    assert not found.pen[clear].any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ink", "mpp"),
    [("red", 2.0), *((ink, mpp) for ink in ("red", "green", "blue", "black") for mpp in (4.0, 16.0, 25.0))],
)
def test_pale_ink_is_followed_at_other_resolutions(ink: str, mpp: float) -> None:
    share = fading_band()
    found = Ground(*(at_8_um(mask) for mask in survey_at(under_ink(stained(), INKS[ink], share), mpp)))
    assert found.pen[share[..., 0] > 0.25].mean() > 0.93
    assert not found.pen[ndimage.distance_transform_edt(share[..., 0] < 0.02) > 25].any()


@pytest.mark.parametrize("ink", ["red", "dark red", "hot pink"])
def test_blood_beside_a_red_stroke_is_tissue(ink: str) -> None:
    """A haemorrhage that the stroke crosses, larger than the stroke is broad."""
    densities = stained()
    cells = np.random.default_rng(5).normal(1, 0.15, (330, 160, 1))
    densities[90:420, 300:460] = cells * BLOOD
    share = fading_band()
    found = survey_at(under_ink(densities, INKS[ink], share))
    blood = np.zeros(SHAPE, bool)
    blood[100:410, 310:450] = True
    blood &= ndimage.distance_transform_edt(share[..., 0] < 0.02) > 20  # 160 µm from the stroke
    assert found.tissue[blood].mean() > 0.995


def test_the_filter_gives_the_share_of_ink_whatever_the_stains() -> None:
    rng = np.random.default_rng(0)
    ink = -np.log10(np.array(INKS["red"]) / 255)
    tissue = np.outer(HAEMATOXYLIN, rng.random(5000)) + np.outer(EOSIN, rng.random(5000))
    weights, deviation = ink_filter(tissue, ink)
    shares = rng.random(5000)
    assert np.abs(weights @ (tissue + np.outer(ink, shares)) - shares).max() < 0.1
    assert deviation < 0.05
    some = np.where(np.arange(5000) % 5 == 0, shares, 0)  # a fifth of the tissue has ink itself
    weights, _ = ink_filter(tissue + np.outer(ink, some), ink)
    assert np.abs(weights @ (tissue + np.outer(ink, shares)) - shares).max() < 0.15


@pytest.mark.skipif(not DATA.is_dir(), reason="no real slides here")
@pytest.mark.parametrize("ink", ["red", "dark red", "blue", "black"])
@pytest.mark.parametrize("name", ["her2st_B4.tiff", "her2st_C2.tiff"])
def test_pale_ink_over_real_tissue_is_pen(name: str, ink: str) -> None:
    """A stroke across a whole slide that pales to nothing."""
    with Slide("x", DATA / "slides" / name, None) as slide:
        picture = slide.thumbnail(8.0)
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width]
    share = (np.abs(y - height / 2) < 35) * (1.1 - x / width).clip(0, 1)
    share = ndimage.gaussian_filter(share, 4)
    clean = survey(picture, 8.0, 0.05, 0.05)
    found = survey((picture * (np.array(INKS[ink]) / 255) ** share[..., None]).astype(np.uint8), 8.0, 0.05, 0.05)
    clear = clean.tissue & (ndimage.distance_transform_edt(share < 0.02) > 20)
    assert not clean.pen.any()
    assert found.pen[share > 0.3].mean() > 0.9
    assert found.pen[clear].mean() < 0.005


@pytest.mark.skipif(not DATA.is_dir(), reason="no real slides here")
@pytest.mark.parametrize("name", ["her2st_B4.tiff", "her2st_C2.tiff", "CMU-1-Small-Region.svs"])
@pytest.mark.parametrize("mpp", [4.0, 16.0])
def test_real_tissue_without_ink_has_no_pen(name: str, mpp: float) -> None:
    with Slide("x", DATA / "slides" / name, None) as slide:
        assert not survey(slide.thumbnail(mpp), mpp, 0.05, 0.05).pen.any()
