"""A made-up cohort with the results that the maps of the report show, in the sizes of the released recipe.

Slides are mixtures of a few phenotypes, a class has its own; sites shift their slides a little. Nothing is trained:
what is measured is how pages of this size are written, opened and used.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.graph_test import GraphTest
from slpd.artifacts.learned.patch_attention import PatchAttention
from slpd.artifacts.learned.prototype_map import MappedPrototype
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays
from slpd.artifacts.learned.slide_map import MappedSlide
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.method.slide_graph import best_matching
from slpd.report.attention import PredictedCase
from slpd.report.cohort_view import CohortView, SlideView
from slpd.report.variant_results import HeadResults, VariantResults
from slpd.settings.evaluation import ClassTask, GeneratedFolds

REGIONS = 60  # per slide: the released cohort has 62,853 of 1,041 slides
M, D, K, PHENOTYPES = 4, 64, 5, 12
ITERATIONS = 79
REGION_LV0, SIDE = 8192, 256  # px of a region at 0.25 µm/px, and of its picture
HEADS, PATCHES, FOLDS = 6, 256, 10
CLASSES, SITES = ("LUAD", "LUSC"), 30


@dataclass(frozen=True)
class Regions:
    """What is drawn of all regions."""

    offsets: NDArray[np.int64]
    prototypes: NDArray[np.float32]  # (S, M, D) unit
    assignments: NDArray[np.int16]
    embeddings: NDArray[np.float32]  # (R, D) unit
    phenotypes: NDArray[np.int64]  # (S, M)


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Vectors of length 1."""
    scaled: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled.astype(np.float32)


def draw_regions(n_slides: int, rng: np.random.Generator) -> Regions:
    """Slides of about REGIONS regions around M phenotypes each."""
    counts = np.maximum(rng.poisson(REGIONS, n_slides), M)
    centres = rng.normal(size=(PHENOTYPES, D))
    phenotypes = np.stack([rng.permutation(PHENOTYPES)[:M] for _ in range(n_slides)])
    prototypes = unit(centres[phenotypes] + 0.3 * rng.normal(size=(n_slides, M, D)))
    slide = np.repeat(np.arange(n_slides), counts)
    assignments = rng.integers(M, size=len(slide)).astype(np.int16)
    embeddings = unit(prototypes[slide, assignments] + 0.08 * rng.normal(size=(len(slide), D)))
    return Regions(np.concatenate([[0], np.cumsum(counts)]), prototypes, assignments, embeddings, phenotypes)


def draw_iterations(assignments: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
    """Groupings that settle, renumbered each time."""
    groupings = np.empty((ITERATIONS, len(assignments)), np.int16)
    for number in range(ITERATIONS):
        stray = rng.random(len(assignments)) < 0.4 * np.exp(-number / 15)
        now = np.where(stray, rng.integers(M, size=len(assignments)), assignments)
        groupings[number] = rng.permutation(M)[now]
    return groupings


def link(regions: Regions, slides: list[str]) -> SlideGraphArrays:
    """K neighbours by the mean prototype; their prototypes matched one to one."""
    means = regions.prototypes.mean(1)
    near = NearestNeighbors(n_neighbors=K + 1).fit(means).kneighbors(means, return_distance=False)
    neighbours = np.array([[other for other in row if other != slide][:K] for slide, row in enumerate(near)], np.int32)
    similarity = np.zeros((len(slides), K), np.float32)
    correspondence = np.zeros((len(slides), K, M), np.int32)
    prototypes = regions.prototypes.astype(np.float64)
    for slide, row in enumerate(neighbours.copy()):
        matched = [best_matching(prototypes[slide] @ prototypes[other].T) for other in row]
        order = sorted(range(K), key=lambda k: -matched[k][0])
        neighbours[slide] = row[order]
        for k, place in enumerate(order):
            similarity[slide, k], correspondence[slide, k] = matched[place]
    return SlideGraphArrays(neighbours, similarity, correspondence, slides)


def draw_view(regions: Regions, slides: list[str], rng: np.random.Generator) -> CohortView:
    """Slides whose regions lie in a block, with columns of a sheet."""
    counts = np.diff(regions.offsets)
    sides = np.ceil(np.sqrt(counts)).astype(int)
    places = np.concatenate([np.arange(n) for n in counts])
    columns = np.repeat(sides, counts)
    coords = (np.stack([places % columns, places // columns], 1) + 1) * REGION_LV0
    views = []
    for number, slide in enumerate(slides):
        site = f"site {int(rng.integers(SITES)) + 1:02d}"
        values = {
            "patient": slide[:12],
            "site": site,
            "class": CLASSES[int(rng.integers(2))],
            "scanner": ("Aperio AT2", "Hamamatsu S360", "")[int(rng.integers(3))],
            "age": str(int(rng.integers(35, 90))),
        }
        size = int(sides[number] + 2) * REGION_LV0
        sizes = {"width_lv0": size, "height_lv0": size, "slide_mpp": 0.25, "region_lv0": REGION_LV0}
        record = SlideRecord(slide=slide, path="").model_copy(update=sizes)
        views.append(SlideView(record, number, values, int(counts[number])))
    return CohortView("cohort", views, regions.offsets, coords, places.astype(np.int32), SIDE, ["class"])


def draw_head(view: CohortView, rng: np.random.Generator) -> HeadResults:
    """A head that tests every slide in one of the folds."""
    task = ClassTask(
        name="subtype",
        cohort="cohort",
        label="class",
        classes=list(CLASSES),
        folds=GeneratedFolds(kind="generated", n_folds=FOLDS, validation_fraction=0.1, seed=0),
    )
    cases, weights = [], {}
    for number, slide in enumerate(view.slides):
        score, fold = float(rng.beta(4, 1.5)), number % FOLDS
        label = slide.values["class"]
        predicted = label if score > 0.5 else next(name for name in CLASSES if name != label)
        cases.append(PredictedCase(fold, [slide.slide], slide.values["patient"], label, "", predicted, score))
        weights[slide.slide] = {fold: rng.dirichlet(np.full(slide.n_pictures, 0.3)).astype(np.float32)}
    return HeadResults(task, "abmil", cases, weights, why="")


def draw_tests(slides: int) -> list[GraphTest]:
    """Tests as they look where a graph carries both."""
    return [
        GraphTest("class", slides, 2, slides * K, 0.71, 0.5, 1.42, 1e-4, 4e-4, 9999),
        GraphTest("site", slides, SITES, slides * K, 0.09, 0.033, 2.7, 1e-4, 4e-4, 9999),
        GraphTest("scanner", slides * 2 // 3, 2, slides * 2, 0.49, 0.5, 0.98, 0.71, 1.0, 9999),
    ]


def draw_results(n_slides: int, seed: int = 0) -> VariantResults:
    """All that the pages of a variant show."""
    rng = np.random.default_rng(seed)
    slides = [f"TCGA-{i // 1000:02d}-{i % 1000:04d}-01Z-00-DX1" for i in range(n_slides)]
    regions = draw_regions(n_slides, rng)
    view = draw_view(regions, slides, rng)
    kept = np.ones(n_slides, bool)
    content = CohortPrototypes(regions.prototypes, "bottleneck", kept, regions.assignments, regions.offsets, slides)
    spots = rng.normal(size=(PHENOTYPES, 2)) * 40
    points = [
        MappedPrototype(slide, k, REGIONS // M, *(spots[regions.phenotypes[i, k]] + rng.normal(size=2) * 6))
        for i, slide in enumerate(slides)
        for k in range(M)
    ]
    plane = [MappedSlide(slide, *(rng.normal(size=2) * 30)) for slide in slides]
    attention = rng.dirichlet(np.full(PATCHES, 0.1), size=HEADS).astype(np.float16)
    every = np.broadcast_to(attention, (len(regions.assignments), HEADS, PATCHES))
    return VariantResults(
        view,
        "slpd",
        content,
        regions.embeddings,
        draw_iterations(regions.assignments, rng),
        link(regions, slides),
        points,
        plane,
        draw_tests(n_slides),
        [],
        [draw_head(view, rng)],
        PatchAttention(every, regions.offsets, slides),
    )


def draw_pictures(folder: Path) -> tuple[Path, Path]:
    """A thumbnail and a sheet of 64 region pictures, as grainy as tissue, so that their files are as large."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, side in (("thumbnail", 1024), ("sheet", 8 * SIDE)):
        coarse = Image.fromarray(rng.integers(120, 255, (side // 8, side // 8, 3), np.uint8)).resize((side, side))
        grain = rng.normal(0, 10, (side, side, 1))
        rgb = np.clip(np.asarray(coarse) * (0.95, 0.8, 0.95) + grain, 0, 255).astype(np.uint8)
        Image.fromarray(rgb).save(folder / f"{name}.jpg", quality=88)
    return folder / "thumbnail.jpg", folder / "sheet.jpg"
