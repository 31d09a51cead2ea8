"""The pages of a variant's prototypes, slide graph and attention, with all that they load, and exports beside."""

import re
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slpd.layout import Layout
from slpd.plots.maps import Group, draw_map, draw_stability
from slpd.plots.style import drawing
from slpd.report.atlas import (
    Atlas,
    atlas_data,
    make_atlas,
    prototype_rows,
    quartiles,
    region_rows,
    slide_prototypes,
    stability_rows,
)
from slpd.report.attention import TOP_REGIONS, attention_data, case_rows, patch_maps, slide_weights, top_regions
from slpd.report.cohort_view import CohortView, column, column_names, region_data
from slpd.report.graph_browser import cells, conclusion, graph_data, in_words, link_rows, slide_links
from slpd.report.map_files import HeadResults, VariantResults, heads_with_weights, read_variant
from slpd.report.page_figure import SHOWN_AS, save_figure
from slpd.report.palette import SERIES
from slpd.report.qupath import regions_geojson
from slpd.report.site import FigureBlock, Link, Site
from slpd.settings.experiment import Experiment
from slpd.settings.section import named

TEST_COLUMNS = (
    ("column", "text"),
    ("slides", "number"),
    ("values", "number"),
    ("pairs", "number"),
    ("agree", "number"),
    ("by chance", "number"),
    ("ratio", "number"),
    ("p", "number"),
    ("adjusted p", "number"),
)


def map_links(experiment: Experiment) -> list[Link]:
    """The pages of maps, for the navigation."""
    links = []
    for cohort, variant in reported(experiment):
        group = f"{' = '.join(names_of(experiment, cohort, variant))} · {cohort}"
        links += [Link(page("prototypes", cohort, variant), "Prototypes", group)]
        links += [Link(page("graph", cohort, variant), "Slide graph", group)]
        links += [
            Link(page("attention", task.name, variant, head), f"Attention: {task.name}, {head}", group)
            for task, _, head in heads_with_weights(experiment, cohort, variant)
        ]
    return links


def reported(experiment: Experiment) -> list[tuple[str, str]]:
    """Every cohort with every variant that has pages."""
    return [
        (entry.name, variant.name) for entry in experiment.cohorts for variant in experiment.reported_on(entry.name)
    ]


def names_of(experiment: Experiment, cohort: str, variant: str) -> list[str]:
    """A trained variant and those that are trained alike, so that they share its pages."""
    equals = experiment.equals_of(cohort, named(experiment.variants, variant))
    return [variant, *(other.name for other in equals)]


def page(*names: str) -> str:
    """The file name of a page."""
    return f"{'-'.join(names)}.html"


def write_maps(site: Site, experiment: Experiment, layout: Layout) -> None:
    """Write all pages of maps."""
    for cohort, variant in reported(experiment):
        with ExitStack() as stack:
            found = read_variant(experiment, layout, cohort, variant, stack)
            link_pictures(site, layout, found.view)
            write_variant(site, found, experiment.report.nearest_regions, experiment.report.cases)


def link_pictures(site: Site, layout: Layout, view: CohortView) -> None:
    """Thumbnails and sheets of region pictures, under the numbers of their slides."""
    for slide in view.slides:
        for of_slide, kind in ((layout.thumbnail, "thumbnails"), (layout.pictures, "regions")):
            picture, place = of_slide(view.cohort, slide.slide), f"{kind}/{view.cohort}/{slide.number}.jpg"
            if slide.n_pictures and not (site.folder / place).exists():
                site.link_file(picture, place)


def write_variant(site: Site, found: VariantResults, n_nearest: int, n_cases: int) -> None:
    """Write the pages of a variant, the data of its slides, tables and exports."""
    site.asset("maps.css")
    atlas = make_atlas(found.variant, found.content, found.embeddings, found.iterations, n_nearest)
    for slide in range(len(found.view.slides)):
        write_slide(site, found, atlas, slide)
    write_atlas(site, found, atlas)
    write_graph(site, found)
    for head in found.heads:
        write_attention(site, found, head, n_cases)


# ---- what is loaded slide by slide ----


def write_slide(site: Site, found: VariantResults, atlas: Atlas, slide: int) -> None:
    """Write a slide's data and its regions for QuPath."""
    view, about = found.view, found.view.slides[slide]
    weights = {f"{h.task.name}/{h.head}": h.weights[about.slide] for h in found.heads if about.slide in h.weights}
    data = {
        **region_data(view, slide),
        **slide_prototypes(atlas, slide),
        "links": slide_links(found.graph, found.content, slide),
        "weights": {name: slide_weights(folds) for name, folds in weights.items()},
        "patches": patches_of(found, slide, weights),
        "geojson": write_geojson(site, found, atlas, slide, weights),
    }
    site.write_data(f"data/{view.cohort}/{found.variant}/{about.number}.js", data)


def patches_of(
    found: VariantResults, slide: int, weights: Mapping[str, Mapping[int, NDArray[np.float32]]]
) -> dict[str, Any] | None:
    """The attention over the patches of the regions that weigh most in some fold of some head."""
    tops = {region for folds in weights.values() for fold in folds.values() for region in top_regions(fold)}
    if not tops:
        return None
    regions, start = sorted(tops), int(found.attention.offsets[slide])
    return patch_maps(regions, found.attention.attention[[start + region for region in regions]])


def write_geojson(
    site: Site,
    found: VariantResults,
    atlas: Atlas,
    slide: int,
    weights: Mapping[str, Mapping[int, NDArray[np.float32]]],
) -> str | None:
    """Write a slide's regions for QuPath, the path; nothing where their places are not known."""
    view, about = found.view, found.view.slides[slide]
    own = slice(view.offsets[slide], view.offsets[slide + 1])
    if about.region_lv0 is None or (view.coords[own] < 0).any():
        return None
    measurements = {
        "distance to prototype": atlas.distances[own],
        **{f"weight {name}": np.mean(list(folds.values()), axis=0) for name, folds in weights.items()},
    }
    text = regions_geojson(view.coords[own], about.region_lv0, found.content.assignments[own], measurements)
    return site.write_text(f"exports/{view.cohort}/{found.variant}/{about.number}_{slug(about.slide)}.geojson", text)


def slug(name: str) -> str:
    """A name with only what is safe in file names and addresses."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:80]


# ---- pages ----


def write_atlas(site: Site, found: VariantResults, atlas: Atlas) -> None:
    """Write the page of prototypes with its tables and figures."""
    view, name = found.view, f"{found.view.cohort}-{found.variant}"
    files = {
        "prototypes": site.write_csv(f"prototypes-{name}", *prototype_rows(view, atlas, found.prototype_points)),
        "regions": site.write_csv(f"regions-{name}", *region_rows(view, atlas)),
        "stability": site.write_csv(f"stability-{name}", *stability_rows(atlas)),
    }
    context = {
        "cohort": view.cohort,
        "variant": found.variant,
        "data": atlas_data(view, atlas, found.prototype_points),
        "files": files,
        "figure": stability_figure(site, found, atlas, files["stability"]),
        "maps": map_figures(site, found),
        "distance": atlas_data(view, atlas, [])["distance"],
    }
    scripts = ("maps.js", "atlas.js")
    site.write_page(page("prototypes", view.cohort, found.variant), "prototypes.html.j2", context, scripts, plotly=True)


def stability_figure(site: Site, found: VariantResults, atlas: Atlas, csv: str) -> FigureBlock:
    """The figure of how prototypes settled."""
    with drawing():
        figure = draw_stability(atlas.steps, quartiles(atlas.movement.moved))
    about = "Share of a slide's regions that moved to another prototype, after matching; median and quartiles of slides"
    name = f"stability-{found.view.cohort}-{found.variant}"
    return site.write_figure(name, figure, "How prototypes settled", about, csv)


def map_figures(site: Site, found: VariantResults) -> list[tuple[str, str]]:
    """The map of prototypes for a paper: by which column, name of its files. Too many shapes to stand in a page."""
    x, y = (np.array([getattr(point, axis) for point in found.prototype_points]) for axis in ("x", "y"))
    written = []
    for column_name in figure_columns(found):
        name = f"map-{found.view.cohort}-{found.variant}-{slug(column_name)}"
        with drawing():
            figure = draw_map(x, y, point_groups(found, column_name))
        for suffix in SHOWN_AS:
            save_figure(figure, site.place(f"figures/{name}.{suffix}"))
        written.append((column_name, name))
    return written


def figure_columns(found: VariantResults) -> list[str]:
    """The columns that maps for a paper are coloured by: what tasks predict, site and scanner, where slides differ."""
    names = column_names(found.view)
    return [name for name in dict.fromkeys([*found.view.classes, "site", "scanner"]) if name in names]


def point_groups(found: VariantResults, name: str) -> list[Group]:
    """The points of the map by their slide's value in a column: the most frequent values, others, not given."""
    value_of = {slide.slide: slide.values.get(name, "") for slide in found.view.slides}
    values = np.array([value_of[point.slide] for point in found.prototype_points])
    shown = column(name, values.tolist()).get("categories", [])[: len(SERIES) - 2]
    groups = [
        *(Group(value, np.flatnonzero(values == value), True) for value in shown),
        Group("(others)", np.flatnonzero(~np.isin(values, [*shown, ""])), False),
        Group("(not given)", np.flatnonzero(values == ""), False),
    ]
    return [group for group in groups if len(group.members)]


def write_graph(site: Site, found: VariantResults) -> None:
    """Write the page of the slide graph."""
    view, name = found.view, f"{found.view.cohort}-{found.variant}"
    tests = [[getattr(test, field) for field in vars(test)] for test in found.tests]
    header = list(vars(found.tests[0])) if found.tests else []
    context = {
        "cohort": view.cohort,
        "variant": found.variant,
        "data": graph_data(view, found.variant, found.graph, found.content, found.slide_points),
        "files": {
            "graph": site.write_csv(f"graph-{name}", *link_rows(view, found.graph, found.content)),
            "tests": site.write_csv(f"graph-test-{name}", header, tests),
        },
        "conclusion": conclusion(found.tests, found.view.classes),
        "sentences": [in_words(test) for test in found.tests],
        "test_columns": [{"title": title, "kind": kind} for title, kind in TEST_COLUMNS],
        "test_rows": cells(found.tests),
        "permutations": max((test.n_permutations for test in found.tests), default=0),
        "neighbours": found.graph.neighbours.shape[1],
    }
    scripts = ("maps.js", "graph.js")
    site.write_page(page("graph", view.cohort, found.variant), "graph.html.j2", context, scripts, plotly=True)


def write_attention(site: Site, found: VariantResults, head: HeadResults, n_cases: int) -> None:
    """Write the page of a head."""
    view, names = found.view, (head.task.name, found.variant, head.head)
    data = attention_data(view, names, head.task.kind, head.cases, n_cases)
    data |= {"heads": found.attention.attention.shape[1], "top": TOP_REGIONS}
    context = {
        "cohort": view.cohort,
        "variant": found.variant,
        "task": head.task.name,
        "head": head.head,
        "survival": head.task.kind == "survival",
        "level": head.task.level,
        "why": head.why,
        "grid": round(found.attention.attention.shape[2] ** 0.5),
        "data": data,
        "file": site.write_csv(f"attention-{'-'.join(names)}", *case_rows(head.cases, head.weights)),
    }
    scripts = () if head.why else ("maps.js", "attention.js")  # without cases there is nothing to choose
    site.write_page(page("attention", *names), "attention.html.j2", context, scripts)
