"""Views are the crops that their corners say, and depend on nothing but the generator."""

import numpy as np
import pytest
import torch

from slpd.method.views import Crops, centre_crops, cut_views, draw_crops

pytestmark = pytest.mark.torch

TOKENS = torch.arange(3 * 6 * 6 * 2).view(3, 6, 6, 2).half()


def test_views_are_slices_of_the_grid_mirrored_left_to_right() -> None:
    top, left = np.array([[0, 2], [1, 3]]), np.array([[3, 1], [0, 2]])
    mirrored = np.array([[False, True], [True, False]])
    regions = np.array([2, 0])
    views = cut_views(TOKENS, regions, Crops(top, left, mirrored, size=3))
    for v in range(2):
        for b, region in enumerate(regions):
            expected = TOKENS[region, top[v, b] : top[v, b] + 3, left[v, b] : left[v, b] + 3]
            assert torch.equal(views[v, b], expected.flip(1) if mirrored[v, b] else expected)


def test_the_centre_crop() -> None:
    views = cut_views(TOKENS, np.array([1]), centre_crops(1, size=4, grid=6))
    assert torch.equal(views[0, 0], TOKENS[1, 1:5, 1:5])


def test_every_corner_and_both_mirrors_are_drawn_equally_often() -> None:
    crops = draw_crops(np.random.default_rng(0), n_views=40, n_regions=250, size=3, grid=6)
    for draws, n_values in ((crops.left, 4), (crops.top, 4), (crops.mirrored, 2)):
        share = np.unique(draws, return_counts=True)[1] / draws.size
        np.testing.assert_allclose(share, 1 / n_values, atol=0.02)
    assert crops.left.min() == crops.top.min() == 0
    assert crops.left.max() == crops.top.max() == 3


def test_a_share_of_the_regions_has_the_same_views_as_in_the_whole_batch() -> None:
    crops = draw_crops(np.random.default_rng(0), n_views=2, n_regions=3, size=4, grid=6)
    whole = cut_views(TOKENS, np.arange(3), crops)
    share = cut_views(TOKENS, np.array([2]), crops.of_regions(slice(2, 3)))
    assert torch.equal(share, whole[:, 2:])
