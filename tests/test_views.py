"""Views are the crops that their corners say, and depend on nothing but the generator."""

import numpy as np
import pytest
import torch

from slpd.method.views import centre_crops, crops_at, cut_views, draw_crops

pytestmark = pytest.mark.torch

TOKENS = torch.arange(3 * 6 * 6 * 2).view(3, 6, 6, 2).half()


def test_views_are_slices_of_the_grid_mirrored_left_to_right() -> None:
    top, left = np.array([[0, 2], [1, 3]]), np.array([[3, 1], [0, 2]])
    mirrored = np.array([[False, True], [True, False]])
    regions = np.array([2, 0])
    views = cut_views(TOKENS, regions, crops_at(top, left, mirrored, size=3)).view(2, 2, 3, 3, 2)
    for v in range(2):
        for b, region in enumerate(regions):
            expected = TOKENS[region, top[v, b] : top[v, b] + 3, left[v, b] : left[v, b] + 3].float()
            assert torch.equal(views[v, b], expected.flip(1) if mirrored[v, b] else expected)


def test_the_centre_crop() -> None:
    views = cut_views(TOKENS, np.array([1]), centre_crops(1, size=4, grid=6))
    assert torch.equal(views[0], TOKENS[1, 1:5, 1:5].float())


def test_every_corner_and_both_mirrors_are_drawn_equally_often() -> None:
    crops = draw_crops(np.random.default_rng(0), n_views=40, n_regions=250, size=3, grid=6)
    mirrored = crops.columns[..., 0] > crops.columns[..., 1]
    left, top = crops.columns.min(axis=-1), crops.rows[..., 0]
    for draws, n_values in ((left, 4), (top, 4), (mirrored, 2)):
        share = np.unique(draws, return_counts=True)[1] / draws.size
        np.testing.assert_allclose(share, 1 / n_values, atol=0.02)
    assert crops.columns.min() == crops.rows.min() == 0
    assert crops.columns.max() == crops.rows.max() == 5


def test_a_share_of_the_regions_has_the_same_views_as_in_the_whole_batch() -> None:
    crops = draw_crops(np.random.default_rng(0), n_views=2, n_regions=3, size=4, grid=6)
    whole = cut_views(TOKENS, np.arange(3), crops).view(2, 3, 4, 4, 2)
    share = cut_views(TOKENS, np.array([2]), crops.of_regions(slice(2, 3))).view(2, 1, 4, 4, 2)
    assert torch.equal(share, whole[:, 2:])
