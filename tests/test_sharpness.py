"""Sharpness orders regions by blur, at every resolution, and looks at tissue alone."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, laplace

from slpd.models.sharpness import TISSUE_DENSITY, sharpness

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def section() -> NDArray[np.float64]:
    """(1024, 1024, 3) at 0.5 µm/px: nuclei of 6-10 µm on eosin."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:1024, :1024]
    nuclei = np.zeros((1024, 1024), bool)
    for y, x, radius in zip(*rng.integers(0, 1024, (2, 700)), rng.uniform(6, 10, 700), strict=True):
        box = np.s_[max(0, y - 10) : y + 11, max(0, x - 10) : x + 11]
        nuclei[box] |= (rows[box] - y) ** 2 + (columns[box] - x) ** 2 < radius**2
    return np.where(nuclei[..., None], (90.0, 50, 130), (220.0, 150, 190)) + rng.normal(0, 3, (1024, 1024, 3))


def blurred(section: NDArray[np.float64], sigma_um: float, mpp: float = 0.5) -> torch.Tensor:
    """The section out of focus, then area-averaged to `mpp`."""
    image = gaussian_filter(section, (sigma_um / 0.5, sigma_um / 0.5, 0)) if sigma_um else section
    factor = round(mpp / 0.5)
    small = image.reshape(1024 // factor, factor, 1024 // factor, factor, 3).mean((1, 3))
    return torch.from_numpy(np.clip(small, 0, 255).round().astype(np.uint8))


def test_more_blur_is_less_sharp(section: NDArray[np.float64]) -> None:
    values = [float(sharpness(blurred(section, sigma), 0.5)) for sigma in (0, 0.5, 1, 2, 4, 8, 16)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 2 * values[3] > 4 * values[4] > 8 * values[5]


@pytest.mark.parametrize("sigma", [0, 2, 8])
def test_it_is_the_same_at_every_resolution(section: NDArray[np.float64], sigma: float) -> None:
    values = [float(sharpness(blurred(section, sigma, mpp), mpp)) for mpp in (0.5, 1.0, 2.0)]
    assert values == pytest.approx([values[0]] * 3, rel=0.02, abs=3e-3)  # pixels are whole numbers


def test_it_is_the_standard_deviation_of_the_laplacian_over_tissue() -> None:
    region = np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    density = -np.log10((region[..., 1] + 1.0) / 256)
    inside = laplace(density)[1:-1, 1:-1][density[1:-1, 1:-1] > TISSUE_DENSITY]
    assert float(sharpness(torch.from_numpy(region), 2.0)) == pytest.approx(inside.std(), rel=1e-5)


def test_glass_is_not_looked_at(section: NDArray[np.float64]) -> None:
    region = blurred(section, 0)
    alone = float(sharpness(region[:, :512].contiguous(), 0.5))
    region[:, 512:] = 240
    assert float(sharpness(region, 0.5)) == pytest.approx(alone, rel=0.02)
    assert float(sharpness(torch.full((64, 64, 3), 240, dtype=torch.uint8), 0.5)) == 0
