"""What the maps of the report are made of: movement, nearest regions, links, tests in words, exports."""

import json
import math
from base64 import b64decode
from itertools import pairwise, permutations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from sklearn.metrics import adjusted_rand_score

from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.graph_test import GraphTest
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.evaluation.comparison import Difference
from slpd.plots.prototype_figures import Group, draw_map
from slpd.plots.style import COLOURS, FAINT
from slpd.report.atlas import make_atlas, mean_and_middle, tissue_shares
from slpd.report.attention import PredictedCase, patch_maps, ranking, top_regions
from slpd.report.cohort_view import CohortView, SlideView, cohort_data, column, places_on_sheet
from slpd.report.findings import sentence_of, settled
from slpd.report.graph_browser import conclusion, in_words, mean_distance, slide_links
from slpd.report.nearest_regions import nearest_regions, prototype_distances
from slpd.report.palette import OTHER, SERIES_COLOURS, series_colour
from slpd.report.qupath import region_shapes, regions_geojson
from slpd.report.stability import stability
from slpd.tables.comparisons import Comparison

OFFSETS = np.array([0, 7, 7, 18])


def groupings(seed: int, steps: int = 4, groups: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(groups, size=(steps, OFFSETS[-1])).astype(np.int16)


def fewest_moved(before: np.ndarray, after: np.ndarray, groups: int) -> float:
    """All renumberings, one by one."""
    return min(float(np.mean(np.array(names)[before] != after)) for names in permutations(range(groups)))


def test_movement_is_told_by_the_mean_over_slides_that_have_prototypes() -> None:
    """Of 21 slides one has none, and one alone moves: a median would not show it."""
    moved = np.zeros((22, 2))
    moved[3], moved[5] = math.nan, (0.84, 0.42)
    told = mean_and_middle(moved)
    assert told["mean"].tolist() == [0.04, 0.02]
    assert (told["low"] == 0).all()
    assert (told["high"] == 0).all()
    moved[7:10] = 0.5  # now 4 of 21 move
    assert mean_and_middle(moved)["high"].tolist() == [0.5, 0.5]
    assert "4.0 % of a slide's regions moved" in settled("slpd", told["mean"])
    assert "2.0 % between the last two" in settled("slpd", told["mean"])


def test_prototypes_that_were_never_renewed_are_said_not_to_have_been() -> None:
    told = mean_and_middle(np.zeros((5, 0)))
    assert {name: len(values) for name, values in told.items()} == {"low": 0, "mean": 0, "high": 0}
    assert settled("slpd", told["mean"]) == "Prototypes of slpd were not renewed."


@pytest.mark.parametrize("seed", range(5))
def test_moved_shares_are_the_fewest_over_all_renumberings(seed: int) -> None:
    found, drawn = stability(groupings(seed), OFFSETS), groupings(seed)
    for slide in (0, 2):
        own = drawn[:, OFFSETS[slide] : OFFSETS[slide + 1]]
        expected = [fewest_moved(a, b, 3) for a, b in pairwise(own)]
        np.testing.assert_allclose(found.moved[slide], expected)


@pytest.mark.parametrize("seed", range(5))
def test_rand_index_is_scikit_learns(seed: int) -> None:
    found, drawn = stability(groupings(seed), OFFSETS), groupings(seed)
    for slide in (0, 2):
        own = drawn[:, OFFSETS[slide] : OFFSETS[slide + 1]]
        expected = [adjusted_rand_score(a, b) for a, b in pairwise(own)]
        np.testing.assert_allclose(found.rand_index[slide], expected)


def test_renumbered_prototypes_have_not_moved() -> None:
    first = groupings(0, steps=1)[0]
    found = stability(np.stack([first, np.array([2, 0, 1], np.int16)[first]]), OFFSETS)
    np.testing.assert_array_equal(found.moved[[0, 2]], 0)
    np.testing.assert_allclose(found.rand_index[[0, 2]], 1)


def test_slides_without_prototypes_have_no_movement() -> None:
    drawn = groupings(0)
    drawn[:, :7] = -1
    found = stability(drawn, OFFSETS)
    assert np.isnan(found.moved[:2]).all() and not np.isnan(found.moved[2]).any()


def cohort(features: str = "bottleneck") -> tuple[CohortPrototypes, np.ndarray]:
    rng = np.random.default_rng(1)
    prototypes = rng.normal(size=(3, 2, 8)).astype(np.float32)
    embeddings = rng.normal(size=(18, 8)).astype(np.float32)
    prototypes /= np.linalg.norm(prototypes, axis=2, keepdims=True)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    assignments = rng.integers(2, size=18).astype(np.int16)
    kept = np.array([True, False, True])
    content = CohortPrototypes(prototypes, features, kept, assignments, OFFSETS, ["a", "b", "c"])  # type: ignore[arg-type]
    return content, embeddings


@pytest.mark.parametrize("features", ["bottleneck", "region_vector"])
def test_distances_are_to_the_own_prototype(features: str) -> None:
    content, embeddings = cohort(features)
    found = prototype_distances(embeddings, content)
    for region in range(18):
        prototype = content.prototypes[0 if region < 7 else 2][content.assignments[region]]
        chord = float(np.linalg.norm(embeddings[region] - prototype))
        expected = chord if features == "region_vector" else chord**2 / 2  # of unit vectors
        assert found[region] == pytest.approx(expected, abs=1e-5)


def test_nearest_regions_come_in_order_and_from_their_prototype_alone() -> None:
    assignments = np.array([0, 1, 0, 0, 1], np.int16)
    distances = np.array([0.3, 0.1, 0.2, 0.2, 0.9], np.float32)
    assert nearest_regions(assignments, distances, 3, 2) == [[2, 3], [1, 4], []]


def test_shares_are_of_all_regions() -> None:
    np.testing.assert_allclose(tissue_shares(np.array([0, 0, 2, 1], np.int16), 4), [0.5, 0.25, 0.25, 0])
    np.testing.assert_array_equal(tissue_shares(np.full(3, -1, np.int16), 2), 0)


def test_the_last_step_of_the_atlas_leads_to_the_final_prototypes() -> None:
    content, embeddings = cohort()
    iterations = np.stack([content.assignments, 1 - content.assignments])
    atlas = make_atlas("slpd", content, embeddings, iterations, 3)
    assert atlas.steps == ["2", "final"]
    np.testing.assert_array_equal(atlas.movement.moved[[0, 2]], 0)  # only numbers changed


def view(values: list[dict[str, str]]) -> CohortView:
    slides = [SlideView(SlideRecord(slide=f"s{i}", path=""), i, value, 1) for i, value in enumerate(values)]
    n = len(slides)
    return CohortView("c", slides, np.arange(n + 1), np.zeros((n, 2), np.int64), np.zeros(n, np.int32), 64, ["label"])


def test_columns_that_tell_no_slides_apart_are_left_out_and_patient_is_last() -> None:
    values = [{"patient": f"p{i}", "same": "x", "site": "ab"[i % 2], "label": "uv"[i % 2]} for i in range(4)]
    assert [entry["name"] for entry in cohort_data(view(values))["columns"]] == ["label", "site", "patient"]


def test_a_column_of_categories_and_a_scale() -> None:
    assert column("c", ["b", "", "a", "b"]) == {"name": "c", "categories": ["b", "a"], "codes": [0, -1, 1, 0]}
    assert column("age", [*map(str, range(9)), ""])["numbers"] == [*map(float, range(9)), None]
    assert "codes" in column("grade", ["1", "2", "3"])  # few numbers are categories
    assert "codes" in column("mixed", [*map(str, range(9)), "nan"])


def test_values_named_like_the_rest_keep_their_points_and_their_colour() -> None:
    groups = [
        Group("others", np.array([0]), True),
        Group("_hidden", np.array([1]), True),
        Group("(others)", np.array([2]), False),
    ]
    figure = draw_map(np.arange(3.0), np.zeros(3), groups)
    (axes,), (legend,) = figure.axes, figure.legends
    assert [text.get_text().strip() for text in legend.get_texts()] == ["others", "_hidden", "(others)"]
    colours = [to_hex(points.get_facecolor()[0]) for points in axes.collections]
    assert colours == [COLOURS[0].lower(), COLOURS[1].lower(), FAINT.lower()]


def test_places_on_the_sheet_skip_regions_that_are_not_used() -> None:
    corners = [(0, 0), (10, 0), (20, 0)]
    assert places_on_sheet(np.array([[20, 0], [0, 0], [5, 5]]), corners).tolist() == [2, 0, -1]


def test_links_give_the_cosine_of_matched_prototypes() -> None:
    content, _ = cohort()
    neighbours = np.array([[2, -1], [-1, -1], [0, -1]], np.int32)
    target = np.array([[[1, 0], [-1, -1]], [[-1, -1]] * 2, [[1, 0], [-1, -1]]], np.int32)
    cosines = [float(content.prototypes[0, k] @ content.prototypes[2, 1 - k]) for k in range(2)]
    similarity = np.array([[sum(cosines), 0], [0, 0], [sum(cosines), 0]], np.float32)
    graph = SlideGraphArrays(neighbours, similarity, target, content.slides)
    assert slide_links(graph, content, 1) == []
    (link,) = slide_links(graph, content, 0)
    assert [k for k, _ in link] == [1, 0]
    np.testing.assert_allclose([cosine for _, cosine in link], cosines, atol=1e-4)
    assert mean_distance(graph, 2)[0, 0] == pytest.approx(1 - np.mean(cosines), abs=1e-6)


def judged(name: str, ratio: float, p: float) -> GraphTest:
    return GraphTest(name, 50, 2, 100, 0.5 * ratio, 0.5, ratio, p, p, 999)


def test_the_conclusion_says_what_is_carried_and_no_more() -> None:
    both = conclusion([judged("class", 1.5, 0.001), judged("site", 1.9, 0.001)], ["class"])
    assert "share class beyond chance" in both and "share site too" in both
    hospital = conclusion([judged("class", 1.0, 0.6), judged("scanner", 1.9, 0.001)], ["class"])
    assert "Nothing shows that neighbours share class" in hospital and "share scanner instead" in hospital
    avoided = conclusion([judged("class", 0.4, 0.99), judged("site", 1.0, 0.5)], ["class"])
    assert "Nothing shows that neighbours share class" in avoided and "Nothing shows that they share site" in avoided
    assert "is not known" in conclusion([judged("class", 1.5, 0.001)], ["class"])


def test_a_test_without_pairs_says_so() -> None:
    assert "cannot be judged" in in_words(GraphTest("x", 0, 0, 0, *[math.nan] * 5, 99))
    assert "no more often than chance allows" in in_words(judged("x", 1.2, 0.2))


def case(fold: int, slide: str, score: float) -> PredictedCase:
    return PredictedCase(fold, [slide], "p", "a", "", "a", score)


def test_cases_are_ranked_by_score_and_ties_by_fold_and_slide() -> None:
    cases = [case(1, "b", 0.5), case(0, "c", 0.9), case(0, "a", 0.5), case(1, "a", 0.5)]
    assert ranking(cases) == [1, 2, 3, 0]
    assert top_regions(np.array([0.1, 0.4, 0.4, 0.1], np.float32), 3) == [1, 2, 0]


def test_patch_maps_keep_attention_to_half_a_level() -> None:
    attention = np.random.default_rng(0).dirichlet(np.ones(16), size=(2, 3)).astype(np.float16)
    found = patch_maps([4, 9], attention)
    assert (found["heads"], found["grid"], list(found["regions"])) == (3, 4, ["4", "9"])
    for number, region in enumerate(found["regions"].values()):
        levels = np.frombuffer(b64decode(region["bytes"]), np.uint8).reshape(3, 16)
        low, high = (np.array(region[end])[:, None] for end in ("low", "high"))
        back = low + levels / 255 * (high - low)
        np.testing.assert_allclose(back, attention[number], atol=attention[number].max() / 255)


def test_regions_for_qupath_have_prototype_colour_and_measurements() -> None:
    text = regions_geojson(
        np.array([[0, 0], [100, 0]]),
        50,
        np.array([1, -1], np.int16),
        {"weight t/<h>": [0.25, 0.75], "d": [0.5, np.nan]},
        {},
    )
    first, second = json.loads(text)["features"]
    assert first["properties"]["classification"]["name"] == "Prototype 2"
    assert first["properties"]["classification"]["color"] == [213, 94, 0]  # Okabe-Ito's vermilion
    assert first["properties"]["measurements"] == {"weight t/<h>": 0.25, "d": 0.5}
    assert second["properties"]["measurements"] == {"weight t/<h>": 0.75}
    assert first["geometry"]["coordinates"][0][2] == [50, 50]
    assert first["properties"]["objectType"] == "tile"


def test_colours_run_out_into_one_grey() -> None:
    assert len(set(SERIES_COLOURS)) == len(SERIES_COLOURS) and OTHER not in SERIES_COLOURS
    assert series_colour(len(SERIES_COLOURS)) == series_colour(99) == OTHER


def area(ring: list[list[int]]) -> float:
    """By the shoelace formula."""
    x, y = np.array(ring, float).T
    return abs(float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))) / 2


def inside(point: tuple[float, float], rings: list[list[list[int]]]) -> bool:
    """Whether a ray from a point crosses the rings an odd number of times."""
    crossings = 0
    for ring in rings:
        for (x0, y0), (x1, y1) in pairwise(ring):
            if (y0 > point[1]) != (y1 > point[1]):
                crossings += point[0] < x0 + (point[1] - y0) / (y1 - y0) * (x1 - x0)
    return crossings % 2 == 1


@pytest.mark.parametrize("seed", range(6))
def test_outlines_of_regions_are_those_of_their_patches(seed: int) -> None:
    """Along whole patches, with holes and pieces, whatever is absent."""
    grid, step, rng = 16, 32, np.random.default_rng(seed)
    present = rng.random((3, grid**2)) > (0.1, 0.5, 0.9)[seed % 3]
    present[1] = True
    corners = np.array([[0, 0], [512, 0], [1024, 512]])
    shapes = region_shapes(corners, grid * step, present)
    assert shapes.keys() == {0, 2}
    for region, pieces in shapes.items():
        rings = [ring for piece in pieces for ring in piece]
        assert all(ring[0] == ring[-1] and (np.array(ring) % step == 0).all() for ring in rings)
        covered = sum(area(piece[0]) - sum(map(area, piece[1:])) for piece in pieces)
        assert covered == present[region].sum() * step**2
        x, y = corners[region]
        for place, here in enumerate(present[region]):
            middle = x + (place % grid + 0.5) * step, y + (place // grid + 0.5) * step
            assert inside(middle, rings) == here


def test_patch_maps_leave_absent_patches_out() -> None:
    attention = np.random.default_rng(0).dirichlet(np.ones(16), size=(1, 2)).astype(np.float16)
    absent = [2, 7, 11]
    least, most = (getattr(np.delete(attention[0], absent, axis=1), name)(axis=1) for name in ("min", "max"))
    attention[0][:, absent] = np.nan
    found = patch_maps([4], attention)["regions"]["4"]
    assert found["absent"] == absent
    np.testing.assert_allclose(found["low"], least, atol=1e-6)
    np.testing.assert_allclose(found["high"], most, atol=1e-6)


def test_a_comparison_in_words_names_the_variant_asked_for_first() -> None:
    difference = Difference(-0.08, -0.12, -0.04, 0.01, 10)
    comparison = Comparison("dx", "auc", "knn", "dino", "slpd", difference)
    assert sentence_of(comparison, "slpd", 0.95) == (
        "slpd against dino, AUC of dx under knn: +0.080 (95 % interval +0.040 to +0.120), slpd is better beyond noise."
    )
    untested = Comparison("dx", "auc", "knn", "dino", "slpd", Difference(-0.1, *[math.nan] * 3, 1, "one fold"))
    assert sentence_of(untested, "slpd", 0.95).endswith("under knn: +0.100, not tested: one fold.")
    same = Comparison("dx", "auc", "knn", "dino", "slpd", Difference(0.0, 0.0, 0.0, 1.0, 10))
    assert "+0.000 (95 % interval +0.000 to +0.000), not distinguishable" in sentence_of(same, "slpd", 0.95)
