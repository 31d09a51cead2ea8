"""What a variant contributes to the first page: sentences, the map of slides, a slide's prototypes in pictures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slpd.artifacts.slides.region_pictures import n_columns, place_of
from slpd.plots.prototype_figures import draw_map
from slpd.report.atlas import Atlas, mean_over_slides
from slpd.report.cohort_view import CohortView
from slpd.report.findings import agreeing, settled
from slpd.report.graph_browser import conclusion, in_words
from slpd.report.site import FigureBlock, Site
from slpd.report.variant_results import VariantResults, value_groups

GAP = 8  # pixels between the pictures of a sheet


@dataclass(frozen=True)
class Front:
    """The part of a variant."""

    variant: str
    sentences: list[str]
    map: FigureBlock
    sheet: str  # path of a picture; empty: no slide has pictures of regions
    about_sheet: str


def make_front(site: Site, results: VariantResults, atlas: Atlas) -> Front:
    """Write its pictures, within `plots.style.drawing()`."""
    view, name = results.view, f"{results.view.cohort}-{results.variant}"
    agreement = mean_over_slides(atlas.agreement)
    prototypes = settled(results.variant, mean_over_slides(atlas.movement.moved))
    if len(agreement):
        prototypes = f"{prototypes} {agreeing(agreement)}"
    tested = [in_words(test) for test in results.tests if test.column in view.classes]
    graph = " ".join([conclusion(results.tests, view.classes), *tested])
    pictured = [n for n, about in enumerate(view.slides) if about.n_pictures and atlas.prototypes.kept[n]]
    slide = max(pictured, key=np.diff(view.offsets).__getitem__, default=None)  # with the most regions
    sheet, about = ("", "") if slide is None else write_sheet(site, view, atlas, slide, name)
    return Front(results.variant, [prototypes, graph], slide_map(site, results, name), sheet, about)


def slide_map(site: Site, results: VariantResults, name: str) -> FigureBlock:
    """All slides in a plane, coloured by what the first task predicts."""
    x, y = (np.array([getattr(point, axis) for point in results.slide_points]) for axis in ("x", "y"))
    column = results.view.classes[0] if results.view.classes else "patient"
    groups = value_groups(results.view, column, [point.slide for point in results.slide_points])
    about = f"Mean region vectors of {results.variant}, one point per slide, by t-SNE; coloured by {column}"
    return site.write_figure(f"slides-{name}", draw_map(x, y, groups), "All slides", about)


def write_sheet(site: Site, view: CohortView, atlas: Atlas, slide: int, name: str) -> tuple[str, str]:
    """Write the nearest regions of a slide's prototypes as one picture, a row each; its path, and what it shows."""
    about, start = view.slides[slide], view.offsets[slide]
    with Image.open(site.folder / f"regions/{view.cohort}/{about.number}.jpg") as picture:
        regions = np.asarray(picture.convert("RGB"))
    rows = [[int(view.places[start + region]) for region in nearest] for nearest in atlas.nearest[slide]]
    path = f"figures/prototypes-{name}.jpg"
    sheet = sheet_of(regions, rows, about.n_pictures)
    Image.fromarray(sheet).save(site.place(path), quality=85)
    return path, f"Prototypes of {atlas.variant} in slide {about.slide}: a row each, their nearest regions first"


def sheet_of(regions: NDArray[np.uint8], rows: list[list[int]], n: int) -> NDArray[np.uint8]:
    """Rows of pictures out of the n on a sheet of regions (H, W, 3); -1: no picture."""
    side, width = regions.shape[1] // n_columns(n), max(map(len, rows), default=0)
    step = side + GAP
    sheet = np.full((max(step * len(rows) - GAP, 1), max(step * width - GAP, 1), 3), 255, np.uint8)
    for row, places in enumerate(rows):
        for column, place in enumerate(places):
            if place >= 0:
                left, top, _ = place_of(place, n, side)
                y, x = row * step, column * step
                sheet[y : y + side, x : x + side] = regions[top : top + side, left : left + side]
    return sheet
