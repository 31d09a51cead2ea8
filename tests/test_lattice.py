"""Patches on lattices: steps, phases, and which patches make which regions."""

from collections import Counter, defaultdict

import numpy as np
import patch_files
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from slpd.geometry.lattice import ABSENT, group_patches, lattice_step

Corner = tuple[int, int]


def grouped_slowly(corners: list[Corner], step: int, side: int, min_share: float) -> dict[Corner, dict[int, int]]:
    """Region corner -> place in it -> patch, one patch at a time."""
    by_phase = defaultdict(list)
    for x, y in corners:
        by_phase[x % step, y % step].append((x, y))
    regions: dict[Corner, dict[int, int]] = defaultdict(dict)
    for phase, patches in by_phase.items():
        start = (0, 0) if phase == (0, 0) else (min(x for x, _ in patches), min(y for _, y in patches))
        for x, y in patches:
            column, row = (x - start[0]) // step, (y - start[1]) // step
            corner = start[0] + column // side * side * step, start[1] + row // side * side * step
            regions[corner][row % side * side + column % side] = corners.index((x, y))
    return {corner: places for corner, places in regions.items() if len(places) >= min_share * side**2}


@settings(max_examples=60, deadline=None)
@given(
    st.sets(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=80),
    st.integers(1, 7),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
)
def test_regions_are_those_of_the_definition(patches: set[Corner], step: int, side: int, min_share: float) -> None:
    corners = sorted(patches, key=lambda corner: hash(corner) % 97)
    found = group_patches(np.array(corners, np.int64), step, side, min_share)
    expected = grouped_slowly(corners, step, side, min_share)
    ours = {
        tuple(corner): {place: patch for place, patch in enumerate(row) if patch != ABSENT}
        for corner, row in zip(found.corners.tolist(), found.patches.tolist(), strict=True)
    }
    overlapping = len(ours) < len(
        found.corners
    )  # regions of two lattices may share a corner only if they share a phase
    assert not overlapping
    assert ours == expected
    assert len(found.corners) + found.n_excluded == len(grouped_slowly(corners, step, side, 0))


def contours(step: int, starts: list[Corner], n: int) -> NDArray[np.int64]:
    """Patches of CLAM: every contour has a grid of its own, column by column."""
    grids = [patch_files.disc(n, step)[:, [1, 0]] + start for start in starts]
    return np.concatenate(grids)


def test_the_step_is_that_of_neighbours_in_every_contour() -> None:
    rng = np.random.default_rng(0)
    starts = [(int(x), int(y)) for x, y in rng.integers(0, 60_000, (20, 2))]
    corners = np.unique(contours(512, starts, 7), axis=0)
    assert lattice_step(corners) == 512
    assert lattice_step(corners[rng.permutation(len(corners))]) == 512
    assert lattice_step(np.array([[0, 0], [5, 9]])) is None


def test_a_lattice_of_the_slide_is_cut_from_its_corner_one_of_a_contour_from_its_own() -> None:
    slide = patch_files.disc(20, 256) + 4 * 256
    assert (group_patches(slide, 256, 16, 0).corners % 4096 == 0).all()
    contour = slide + np.array([100, 7])
    found = group_patches(contour, 256, 16, 0)
    assert found.corners[0].tolist() == contour.min(axis=0).tolist()
    assert Counter(found.patches[found.patches != ABSENT].tolist()) == Counter(range(len(contour)))
