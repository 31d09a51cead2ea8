"""The pages of a variant's prototypes, slide graph and attention, with all that they load, and exports besides."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slpd.plots.prototype_figures import draw_map, draw_stability
from slpd.report.atlas import (
    DISTANCE,
    Atlas,
    agreement_rows,
    atlas_data,
    make_atlas,
    mean_and_middle,
    mean_over_slides,
    prototype_rows,
    region_rows,
    slide_prototypes,
    stability_rows,
)
from slpd.report.attention import TOP_REGIONS, attention_data, case_rows, patch_maps, slide_weights, top_regions
from slpd.report.cohort_view import column_names, region_data
from slpd.report.findings import agreeing
from slpd.report.front import Front, make_front
from slpd.report.graph_browser import conclusion, graph_data, in_words, link_rows, rows_of_tests, slide_links
from slpd.report.navigation import page_name
from slpd.report.page_figure import SHOWN_AS, save_figure
from slpd.report.qupath import Rings, region_shapes, regions_geojson
from slpd.report.robustness_part import robustness_table
from slpd.report.site import FigureBlock, Site, columns
from slpd.report.variant_results import HeadResults, VariantResults, value_groups

TEST_COLUMNS = columns(["column"], ["slides", "values", "pairs", "agree", "by chance", "ratio", "p", "adjusted p"])
SLIDE_SCRIPTS = ("colours.js", "pictures.js", "chooser.js")


def write_variant(site: Site, results: VariantResults, n_nearest: int, n_cases: int) -> Front:
    """Write the pages of a variant, the data of its slides, tables and exports, within `plots.style.drawing()`.

    Returns:
        What the first page shows of it.
    """
    site.asset("maps.css")
    atlas = make_atlas(
        results.variant, results.prototypes, results.embeddings, results.iterations, n_nearest, results.view.kinds
    )
    for slide in range(len(results.view.slides)):
        write_slide_data(site, results, atlas, slide)
    write_atlas(site, results, atlas)
    write_graph(site, results)
    for head in results.heads:
        write_attention(site, results, head, n_cases)
    return make_front(site, results, atlas)


# ---- what is loaded slide by slide ----


def write_slide_data(site: Site, results: VariantResults, atlas: Atlas, slide: int) -> None:
    """Write a slide's data and its regions for QuPath."""
    view, about = results.view, results.view.slides[slide]
    weights = {f"{h.task.name}/{h.head}": h.weights[about.slide] for h in results.heads if about.slide in h.weights}
    shapes = shapes_of(results, slide)
    data = {
        **region_data(view, slide),
        **slide_prototypes(view, atlas, slide),
        "links": slide_links(results.graph, results.prototypes, slide),
        "weights": {name: slide_weights(folds) for name, folds in weights.items()},
        "patches": patches_of(results, slide, weights),
        "shapes": shapes,
        "geojson": export_regions(site, results, atlas, slide, weights, shapes),
    }
    site.write_data(f"data/{view.cohort}/{results.variant}/{about.number}.js", data)


def shapes_of(results: VariantResults, slide: int) -> dict[int, list[Rings]]:
    """The outlines of a slide's regions of which patches are absent, where the places of regions are known."""
    view, region_lv0 = results.view, results.view.slides[slide].record.region_lv0
    of_slide = slice(int(view.offsets[slide]), int(view.offsets[slide + 1]))
    if region_lv0 is None or (view.coords[of_slide] < 0).any():
        return {}
    present = ~np.isnan(results.attention.attention[of_slide, 0])  # (n, P) of the first head
    return region_shapes(view.coords[of_slide], region_lv0, present)


def patches_of(
    results: VariantResults, slide: int, weights: Mapping[str, Mapping[int, NDArray[np.float32]]]
) -> dict[str, Any] | None:
    """The attention over the patches of the regions that weigh most in some fold of some head."""
    tops = {region for folds in weights.values() for fold in folds.values() for region in top_regions(fold)}
    if not tops:
        return None
    regions, start = sorted(tops), int(results.attention.offsets[slide])
    return patch_maps(regions, results.attention.attention[[start + region for region in regions]])


def export_regions(
    site: Site,
    results: VariantResults,
    atlas: Atlas,
    slide: int,
    weights: Mapping[str, Mapping[int, NDArray[np.float32]]],
    shapes: Mapping[int, Sequence[Rings]],
) -> str | None:
    """Write a slide's regions for QuPath, the path; nothing where their places are not known."""
    view, about = results.view, results.view.slides[slide]
    of_slide = slice(view.offsets[slide], view.offsets[slide + 1])
    region_lv0 = about.record.region_lv0
    if region_lv0 is None or (view.coords[of_slide] < 0).any():
        return None
    measurements = {
        "distance to prototype": atlas.distances[of_slide],
        **{f"weight {name}": np.mean(list(folds.values()), axis=0) for name, folds in weights.items()},
    }
    assignments = results.prototypes.assignments[of_slide]
    text = regions_geojson(view.coords[of_slide], region_lv0, assignments, measurements, shapes)
    return site.write_text(f"exports/{view.cohort}/{results.variant}/{about.number}_{slug(about.slide)}.geojson", text)


def slug(name: str) -> str:
    """A name with only what is safe in file names and addresses."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:80]


# ---- pages ----


def write_atlas(site: Site, results: VariantResults, atlas: Atlas) -> None:
    """Write the page of prototypes with its tables and figures."""
    view, name = results.view, f"{results.view.cohort}-{results.variant}"
    files = {
        "prototypes": site.write_csv(f"prototypes-{name}", prototype_rows(view, atlas, results.prototype_points)),
        "regions": site.write_csv(f"regions-{name}", region_rows(view, atlas)),
        "stability": site.write_csv(f"stability-{name}", stability_rows(atlas)),
        "agreement": site.write_csv(f"agreement-{name}", agreement_rows(atlas)) if view.kinds else "",
    }
    context = {
        "cohort": view.cohort,
        "variant": results.variant,
        "data": atlas_data(view, atlas, results.prototype_points),
        "files": files,
        "figure": stability_figure(site, results, atlas, files["stability"]),
        "maps": map_figures(site, results),
        "agreement": agreeing(agreement) if len(agreement := mean_over_slides(atlas.agreement)) else "",
        "distance": DISTANCE[results.prototypes.features],
    }
    scripts = (*SLIDE_SCRIPTS, "scatter.js", "atlas.js")
    site.write_page(page_name("prototypes", view.cohort, results.variant), "prototypes.html.j2", context, scripts)


def stability_figure(site: Site, results: VariantResults, atlas: Atlas, csv: str) -> FigureBlock:
    """The figure of how prototypes settled."""
    figure = draw_stability(atlas.steps, mean_and_middle(atlas.movement.moved))
    about = "Share of a slide's regions that moved to another prototype, after matching; mean and middle 90 % of slides"
    name = f"stability-{results.view.cohort}-{results.variant}"
    return site.write_figure(name, figure, "How prototypes settled", about, csv)


def map_figures(site: Site, results: VariantResults) -> list[tuple[str, str]]:
    """The map of prototypes for a paper: by which column, name of its files. Too many shapes to stand in a page."""
    x, y = (np.array([getattr(point, axis) for point in results.prototype_points]) for axis in ("x", "y"))
    written, slides = [], [point.slide for point in results.prototype_points]
    for column_name in figure_columns(results):
        name = f"map-{results.view.cohort}-{results.variant}-{slug(column_name)}"
        figure = draw_map(x, y, value_groups(results.view, column_name, slides))
        for suffix in SHOWN_AS:
            save_figure(figure, site.place(f"figures/{name}.{suffix}"))
        written.append((column_name, name))
    return written


def figure_columns(results: VariantResults) -> list[str]:
    """The columns that maps for a paper are coloured by: what tasks predict, site and scanner, where slides differ."""
    names = column_names(results.view)
    return [name for name in dict.fromkeys([*results.view.classes, "site", "scanner"]) if name in names]


def write_graph(site: Site, results: VariantResults) -> None:
    """Write the page of the slide graph."""
    view, name = results.view, f"{results.view.cohort}-{results.variant}"
    tests = [list(vars(results.tests[0])) if results.tests else [], *(list(vars(t).values()) for t in results.tests)]
    context = {
        "cohort": view.cohort,
        "variant": results.variant,
        "data": graph_data(view, results.variant, results.graph, results.prototypes, results.slide_points),
        "files": {
            "graph": site.write_csv(f"graph-{name}", link_rows(view, results.graph, results.prototypes)),
            "tests": site.write_csv(f"graph-test-{name}", tests),
        },
        "conclusion": conclusion(results.tests, results.view.classes),
        "sentences": [in_words(test) for test in results.tests],
        "test_columns": TEST_COLUMNS,
        "test_rows": rows_of_tests(results.tests),
        "robustness": robustness_table("task", results.robustness),
        "permutations": max((test.n_permutations for test in results.tests), default=0),
        "neighbours": results.graph.neighbours.shape[1],
    }
    scripts = (*SLIDE_SCRIPTS, "scatter.js", "graph.js")
    site.write_page(page_name("graph", view.cohort, results.variant), "graph.html.j2", context, scripts)


def write_attention(site: Site, results: VariantResults, head: HeadResults, n_cases: int) -> None:
    """Write the page of a head."""
    view, names = results.view, (head.task.name, results.variant, head.head)
    data = attention_data(view, names, head.task.kind, head.cases, n_cases)
    data |= {"heads": results.attention.attention.shape[1], "top": TOP_REGIONS}
    context = {
        "cohort": view.cohort,
        "variant": results.variant,
        "task": head.task.name,
        "head": head.head,
        "words": data["words"],
        "level": head.task.level,
        "why": head.why,
        "grid": round(results.attention.attention.shape[2] ** 0.5),
        "data": data,
        "file": site.write_csv(f"attention-{'-'.join(names)}", case_rows(head.cases, head.weights)),
    }
    scripts = () if head.why else (*SLIDE_SCRIPTS, "attention.js")  # without cases there is nothing to choose
    site.write_page(page_name("attention", *names), "attention.html.j2", context, scripts)
