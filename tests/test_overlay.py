"""Overlays on thumbnails: what is drawn where, with legend and captions."""

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.slides.colours import PEN, REGION, TISSUE
from slpd.artifacts.slides.mask import Ground
from slpd.artifacts.slides.region_table import Region
from slpd.plots.overlay import draw_outlines, draw_regions, with_caption, with_legend


def places(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """First and last row, first and last column of a colour."""
    rows, columns = np.nonzero((picture == colour).all(axis=2))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_regions_are_drawn_where_they_lie_in_the_colour_of_their_state() -> None:
    regions = [Region(1, 2, 0, 0, 0.1, excluded="little tissue"), Region(3, 0, 0, 0, 1.0)]
    picture = draw_regions(np.zeros((100, 100, 3), np.uint8), regions, 20)
    assert np.allclose(places(picture, REGION["little tissue"]), (20, 40, 40, 60), atol=1)  # as thick as the line
    assert places(picture, REGION[""]) == (60, 80, 0, 20)
    assert tuple(picture[30, 50]) == REGION["little tissue"]  # crossed out
    assert tuple(picture[70, 10]) == (0, 0, 0)


def test_tissue_and_pen_are_outlined() -> None:
    tissue, pen = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    tissue[10:20, 10:20] = pen[30:50, 30:50] = True
    picture = draw_outlines(np.full((60, 60, 3), 240, np.uint8), Ground(tissue, pen, np.zeros_like(pen)))
    assert picture.shape == (600, 600, 3)
    assert places(picture, TISSUE) == (100, 199, 100, 199)
    assert places(picture, PEN) == (300, 499, 300, 499)


def test_legend_and_caption_stand_under_the_picture() -> None:
    picture = np.full((50, 600, 3), 7, np.uint8)
    for drawn in (with_legend(picture, [(TISSUE, "tissue"), (PEN, "pen")]), with_caption(picture, "too small " * 30)):
        assert np.array_equal(drawn[:50], picture)
        assert drawn.shape[1] == 600
        assert drawn[50:].std() > 1
    message = "slide a: no tissue of 0.05 mm² or more (pen marks cover 0.0%, padding 0.0%); look at it, leave it out"
    assert (with_caption(picture, message)[50:, -2:] == 255).all()  # no line is cut
    narrow = with_legend(picture[:, :150], [(TISSUE, "tissue"), (PEN, "pen")])
    assert narrow.shape[1] == 150
    assert (narrow[50:] == PEN).all(axis=2).any()  # on a line of its own
