"""Sizes, grids, read plans and area averages of slides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slpd.geometry.area_resample import area_resample
from slpd.geometry.read_plan import coarsest_level, plan_read, region_size_lv0
from slpd.geometry.regions import area_shares, box_means

Picture = NDArray[np.uint8]  # (h, w, 3)


def slow_area_mean(image: Picture, height: int, width: int) -> NDArray[np.float64]:
    """The definition: each output pixel integrates the piecewise constant input over its footprint."""
    result = np.zeros((height, width, image.shape[2]))
    h, w = image.shape[:2]
    for i in range(height):
        for j in range(width):
            top, bottom, left, right = i * h / height, (i + 1) * h / height, j * w / width, (j + 1) * w / width
            for y in range(h):
                for x in range(w):
                    dy = max(0.0, min(bottom, y + 1) - max(top, y))
                    dx = max(0.0, min(right, x + 1) - max(left, x))
                    result[i, j] += image[y, x] * dy * dx
    return result / (h / height * w / width)


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 4), st.integers(1, 4), st.integers(0, 1000))
def test_area_resampling_equals_its_definition_whatever_the_strips(
    sizes: tuple[int, int, int, int], strip_rows: int, seed: int
) -> None:
    h, w, height, width = sizes
    image = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    strips = [image[top : top + strip_rows] for top in range(0, h, strip_rows)]
    result = np.empty((height, width, 3), np.uint8)
    area_resample(strips, (h, w), result)
    assert np.abs(result - slow_area_mean(image, height, width)).max() <= 1.001
    area_resample([image], (h, w), result)
    assert np.abs(result - slow_area_mean(image, height, width)).max() <= 1.001


@pytest.mark.parametrize(
    ("size_in", "size_out"),
    [(400, 200), (405, 200), (203, 200), (200, 200), (1600, 50), (60, 200), (195, 200), (22, 36), (700, 701)],
)
@pytest.mark.parametrize("strip_rows", [77, None])
def test_area_resampling_is_within_a_grey_level_of_the_exact_mean(
    size_in: int, size_out: int, strip_rows: int | None
) -> None:
    """Of noise, in which a pixel too far to any side would differ by a hundred levels."""
    image = np.random.default_rng(0).integers(0, 256, (size_in, size_in, 3), dtype=np.uint8)
    weights = np.array([[max(0.0, min((i + 1) * size_in / size_out, k + 1) - max(i * size_in / size_out, k))
                         for k in range(size_in)] for i in range(size_out)]) * size_out / size_in  # fmt: skip
    exact = np.einsum("ik,jl,klc->ijc", weights, weights, image, optimize=True)
    result = np.empty((size_out, size_out, 3), np.uint8)
    step = strip_rows or size_in
    area_resample([image[top : top + step] for top in range(0, size_in, step)], (size_in, size_in), result)
    assert np.abs(result - exact).max() <= 1.001


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 1000))
def test_box_means_equal_their_definition(n_in: int, n_out: int, seed: int) -> None:
    values = np.random.default_rng(seed).random((n_in, 2))
    fine = np.repeat(values, n_out, axis=0)  # every box has n_in of these
    expected = fine.reshape(n_out, n_in, 2).mean(axis=1)
    assert np.allclose(box_means(values, np.arange(n_out + 1) * (n_in / n_out)), expected)


def test_region_size_is_physical() -> None:
    assert region_size_lv0(4096, 0.5, 0.5) == 4096
    assert region_size_lv0(4096, 0.5, 0.25) == 8192
    assert region_size_lv0(4096, 0.5, 0.2527) == 8104
    assert region_size_lv0(4096, 0.5, 0.5025) == 4076


@pytest.mark.parametrize(
    ("slide_mpp", "downsamples", "requested", "level"),
    [
        (0.25, (1, 4, 16), 0.5, 0),  # level 1 would be 1.0 µm/px
        (0.25, (1, 2, 4), 0.5, 1),
        (0.2527, (1, 2.0001, 4), 0.5, 1),  # 0.5054 is within the tolerance
        (0.27, (1, 2), 0.5, 0),  # 0.54 is not
        (0.52, (1, 2), 0.5, 0),
        (0.9, (1, 2), 0.5, 0),  # nothing is fine enough: the finest there is
    ],
)
def test_level_is_the_coarsest_that_is_fine_enough(
    slide_mpp: float, downsamples: tuple[float, ...], requested: float, level: int
) -> None:
    assert coarsest_level(slide_mpp, downsamples, requested) == level


def test_read_plan_states_all_resolutions() -> None:
    plan = plan_read(0.25, (1.0, 2.0, 4.0), 0.6, 512)
    assert (plan.level, plan.region_lv0, plan.level_px) == (1, 1229, 614)  # 512 * 0.6 / 0.25 = 1228.8
    assert plan.read_mpp == 0.5
    assert plan.effective_mpp == pytest.approx(1229 * 0.25 / 512)


def test_share_is_the_exact_area() -> None:
    mask = np.zeros((4, 6), bool)
    mask[1:3, 1:4] = True
    # 60 x 40 level-0 px, a mask pixel is 10 x 10; regions of 15 are one and a half mask pixels wide.
    shares = area_shares(mask, 60, 40, 15)
    assert shares.shape == (2, 4)
    assert shares[0, 0] == pytest.approx(5 * 5 / 225)  # tissue begins at (10, 10)
    assert shares[0, 1] == pytest.approx(15 * 5 / 225)
    assert shares[1, 1] == pytest.approx(15 * 15 / 225)
    assert shares[1, 2] == pytest.approx(10 * 15 / 225)  # tissue ends at x = 40
    assert shares[1, 3] == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(5, 40), st.integers(5, 40), st.integers(1, 12), st.integers(0, 99))
def test_shares_of_a_mask_at_full_resolution_are_block_means(width: int, height: int, region: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    shares = area_shares(mask, width, height, region)
    assert shares.shape == (height // region, width // region)
    for row, column in np.ndindex(shares.shape):
        block = mask[row * region : (row + 1) * region, column * region : (column + 1) * region]
        assert shares[row, column] == pytest.approx(block.mean())


def test_a_slide_smaller_than_a_region_has_an_empty_grid() -> None:
    assert area_shares(np.ones((5, 5), bool), 100, 100, 101).size == 0
