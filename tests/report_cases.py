"""Results of a small experiment whose every free text is hostile, written by the artefacts' own writers."""

import copy
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import rerun_table
import toy

from slpd.__main__ import main
from slpd.artifacts.evaluation.absent_slides import write_absent
from slpd.artifacts.evaluation.fold_metrics import FoldMetrics, write_fold_metrics
from slpd.artifacts.evaluation.folds import Fold, LabelledSlide, write_folds
from slpd.artifacts.evaluation.metric_intervals import MetricInterval, write_intervals
from slpd.artifacts.evaluation.predictions import FoldPredictions, write_predictions
from slpd.artifacts.evaluation.region_weights import SlideWeights, write_region_weights
from slpd.artifacts.evaluation.robustness_table import RobustnessLine, write_robustness
from slpd.artifacts.evaluation.subgroup_tables import SubgroupFigure, SubgroupGap, write_figures, write_gaps
from slpd.artifacts.learned.bags import write_bags
from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes, write_prototypes
from slpd.artifacts.learned.embeddings import CohortEmbeddings, write_embeddings
from slpd.artifacts.learned.graph_test import GraphTest, write_graph_test
from slpd.artifacts.learned.iteration_history import Iterations, write_iterations
from slpd.artifacts.learned.patch_attention import write_patch_attention
from slpd.artifacts.learned.prototype_map import MappedPrototype, write_prototype_map
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays, write_slide_graph
from slpd.artifacts.learned.slide_map import MappedSlide, write_slide_map
from slpd.artifacts.learned.training_metrics import COLUMNS, EpochMetrics, write_metrics
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.picture import write_picture
from slpd.artifacts.slides.region_table import Region, write_regions
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.evaluation.subgroups import metrics_of_parts
from slpd.settings.experiment import Experiment
from slpd.settings.load import load_experiment
from slpd.settings.tables import metrics_of

SCRIPT = "<script>alert(1)</script>"
IMAGE = '"><img src=x onerror=alert(2)>'
CLOSING = "</script></style></title><b>bold"
TEMPLATE = "{{7*7}}{% raw %}"
MATHS = "$\\frac{a$ \u2028 𝒳 \u202e Ωμέγα é"
HOSTILE = (SCRIPT, IMAGE, CLOSING, TEMPLATE, MATHS)
CLASSES = [f"a {SCRIPT}", f"b {IMAGE} {TEMPLATE}"]
COLUMN = f"dx{CLOSING}"
N_SLIDES = 8
SMALL = "fewer than 20 patients"


def hostile_experiment() -> Experiment:
    """The toy's config, and a cohort of tokens, with hostile captions, classes and label columns."""
    config = copy.deepcopy(toy.TOY)
    config["cohorts"].append({"name": "tokens", "sheet": "tokens.csv"})
    config["tasks"][0].update(label=COLUMN, classes=CLASSES)
    config["tables"][0]["caption"] = " ".join(HOSTILE)
    config["subgroups"] = {"columns": [{"column": COLUMN}]}
    config["robustness"] = {"confounders": [COLUMN]}
    return load_experiment(rerun_table.merged(config))


def write_results(folder: Path) -> Experiment:
    """Write sheets and results of the hostile experiment, as if run in `folder`; the current folder must be it."""
    experiment = hostile_experiment()
    results = Path("results/toy")
    write_cohort(results / "cohorts/toy", "slides.csv", [f"s{place}" for place in range(N_SLIDES)], "tiff")
    write_cohort(results / "cohorts/tokens", "tokens.csv", list(HOSTILE), "h5")
    rng = np.random.default_rng(0)
    for name, first in (("warmup", 1), ("variants/dino", 2), ("variants/slpd", 2)):
        values = [dict(zip(COLUMNS[1:], rng.uniform(0.1, 4, 10).tolist(), strict=True)) for _ in range(2)]
        epochs = [EpochMetrics.of({"epoch": first + place} | found) for place, found in enumerate(values)]
        write_metrics(results / f"cohorts/toy/{name}/metrics.csv", epochs)
    folds = two_folds()
    write_folds(results / "tasks/dx/folds.csv", folds)
    write_absent(results / "tasks/dx/not_in_folds.csv", [])
    for variant, head in itertools.product(("dino", "slpd"), ("abmil", "knn")):
        write_evaluation(results / f"tasks/dx/{variant}/{head}", ("dx", variant, head), folds, rng)
    write_comparisons(results / "tasks/dx", ("dino", "slpd"), ("abmil", "knn"))
    write_learned(results / "cohorts/toy", results / "tasks/dx/slpd/abmil", rng)
    write_table(experiment, results)
    benchmark = results / "benchmarks/evaluate/dx/slpd/abmil.tsv"
    benchmark.parent.mkdir(parents=True)
    benchmark.write_text("s\th:m:s\tmax_rss\tcpu_time\n7200\t2:00:00\t1500\tNA\n")
    return experiment


def write_cohort(cohort: Path, sheet: str, slides: Sequence[str], suffix: str) -> None:
    """A sheet, a manifest whose last slide is left out for a hostile reason, and pictures."""
    rows = []
    for place, slide in enumerate(slides):
        record = SlideRecord(slide=slide, path=f"{slide}.{suffix}", n_regions=4, tissue_mm2=1.5, slide_mpp=0.5)
        if suffix == "tiff":
            record = record.model_copy(update={"width_lv0": 128, "height_lv0": 128, "region_lv0": 64})
        if place == len(slides) - 1:
            record = record.failed("segment_tissue", f"slide {slide}: {SCRIPT} {IMAGE} {TEMPLATE}")
        rows.append(ManifestRow(record, None if record.status == "failed" else Path("x.h5")))
        if suffix == "tiff":
            write_picture(cohort / f"regions/overlays/{slide}.jpg", np.zeros((8, 8, 3), np.uint8))
    write_manifest(cohort / "slides.csv", rows)
    quoted = [text.replace('"', '""') for text in (IMAGE, *CLASSES, COLUMN)]
    lines = [f's{i},s{i}.{suffix},"p{i} {quoted[0]}",,"{quoted[1 + i % 2]}"' for i in range(N_SLIDES)]
    Path(sheet).write_text("\n".join([f'slide,path,patient,mpp,"{quoted[3]}"', *lines]) + "\n")


def write_learned(cohort: Path, evaluation: Path, rng: np.random.Generator) -> None:
    """What pages show of prototypes, slide graph and attention: used slides of four regions, one no prototypes."""
    slides, variant, n = [f"s{place}" for place in range(N_SLIDES - 1)], cohort / "variants/slpd", N_SLIDES - 1
    offsets, coords = np.arange(n + 1) * 4, np.array([[0, 0], [64, 0], [0, 64], [64, 64]])
    for slide in slides:
        picture = np.full((128, 128, 3), 200, np.uint8)
        write_picture(cohort / f"tissue/{slide}.jpg", picture)
        write_picture(cohort / f"pictures/{slide}.jpg", picture)
        write_regions(
            cohort / f"regions/{slide}.csv", [Region(y // 64, x // 64, x, y, 1.0) for x, y in coords.tolist()]
        )
    vectors = rng.normal(size=(4 * n, 8)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    kept = np.arange(n) < n - 1
    assignments = np.where(np.repeat(kept, 4), np.tile([0, 1], 2 * n), -1).astype(np.int16)
    prototypes = unit.reshape(n, 4, 8)[:, :2] * kept[:, None, None]
    content = CohortPrototypes(prototypes, "bottleneck", kept, assignments, offsets, slides)
    write_prototypes(variant / "prototypes.npz", content)
    write_embeddings(variant / "embeddings.h5", CohortEmbeddings(unit, vectors, offsets, slides))
    neighbours = np.append((np.arange(n - 1) + 1) % (n - 1), -1).astype(np.int32)[:, None]
    write_iterations(
        variant / "iterations.npz",
        Iterations(np.stack([assignments, assignments]), np.stack([neighbours] * 2), offsets, slides),
    )
    targets = np.where(kept[:, None, None], [[[0, 1]]], -1).astype(np.int32)
    similarity = kept[:, None].astype(np.float32)
    write_slide_graph(variant / "graph.npz", SlideGraphArrays(neighbours, similarity, targets, slides))
    bags = {slide: vectors[4 * place : 4 * place + 4] for place, slide in enumerate(slides)}
    write_bags(variant / "bags.h5", bags, {slide: coords.astype(np.int64) for slide in slides})
    points = [MappedPrototype(slide, k, 2, *rng.normal(size=2)) for slide in slides[:-1] for k in range(2)]
    write_prototype_map(variant / "prototype_map.csv", points)
    write_slide_map(variant / "slide_map.csv", [MappedSlide(slide, *rng.normal(size=2)) for slide in slides])
    write_graph_test(variant / "graph_test.csv", [GraphTest(COLUMN, 6, 2, 6, 0.5, 0.4, 1.25, 0.4, 0.4, 99)])
    attention = rng.dirichlet(np.ones(256), size=(n, 4, 2)).astype(np.float16)
    write_patch_attention(variant / "patch_attention.h5", slides, offsets, (2, 256), attention)
    tested = [(number, slide.slide) for number, fold in enumerate(two_folds()) for slide in fold.test]
    weights = [SlideWeights(fold, slide, rng.dirichlet(np.ones(4)).astype(np.float32)) for fold, slide in tested]
    write_region_weights(evaluation / "region_weights.h5", weights)


def two_folds() -> list[Fold]:
    """Two folds that test every usable slide once."""
    slides = [LabelledSlide(f"s{i}", f"p{i} {IMAGE}", CLASSES[i % 2]) for i in range(N_SLIDES - 1)]
    return [Fold(train=slides[4:], test=slides[:4]), Fold(train=slides[:4], test=slides[4:])]


def write_evaluation(
    folder: Path, names: tuple[str, str, str], folds: Sequence[Fold], rng: np.random.Generator
) -> None:
    """Predictions, metrics and intervals of a head."""
    predictions = []
    for fold in folds:
        probabilities = rng.uniform(0, 1, len(fold.test))
        outputs = np.stack([1 - probabilities, probabilities], axis=1)
        predicted = [CLASSES[number] for number in outputs.argmax(axis=1)]
        predictions.append(FoldPredictions([[slide] for slide in fold.test], predicted, outputs, [""] * len(outputs)))
    write_predictions(folder / "predictions.csv", names, [f"prob_{name}" for name in CLASSES], predictions)
    write_fold_metrics(
        folder / "metrics.csv", [FoldMetrics(*names, number, auc=0.5 + 0.1 * number, accuracy=0.5) for number in (0, 1)]
    )
    intervals = [MetricInterval(*names, metric, 0.55, 0.07, 0.4, 0.7, 0.95, 2) for metric in metrics_of("subtyping")]
    write_intervals(folder / "intervals.csv", intervals)


def write_comparisons(task: Path, variants: Sequence[str], heads: Sequence[str]) -> None:
    """Groups of test cases, one of them too small, gaps, and robustness, of one variant not measured."""
    figures, gaps = [], []
    for variant, head in itertools.product(variants, heads):
        for number, (group, why) in enumerate([*((name, "") for name in HOSTILE[:3]), ("rare", SMALL)]):
            for metric in metrics_of_parts("subtyping"):
                values = (np.nan,) * 3 if why else (0.5 + number / 10, 0.4, 0.9)
                figures.append(SubgroupFigure(variant, head, COLUMN, group, 40, 30, metric, *values, 0.95, why))
        for metric in metrics_of_parts("subtyping"):
            gaps.append(SubgroupGap(variant, head, COLUMN, metric, 3, HOSTILE[0], HOSTILE[2], 0.2, 0.0421, 99))
    write_figures(task / "subgroups.csv", figures)
    write_gaps(task / "subgroup_gaps.csv", gaps)
    failed, measured_one = variants
    measured = (0.6123, 0.5, 11, 0.9, 0.1234, 0.0321, 0.1, 0.15, -0.2, 0.3)
    write_robustness(
        task / measured_one / "robustness.csv",
        [RobustnessLine(COLUMN, kind, 30, 6, 7, 2, *measured) for kind in ("slides", "regions")],
    )
    write_robustness(
        task / failed / "robustness.csv", [RobustnessLine(COLUMN, "slides", 0, 0, 7, 0, why=f"none of {IMAGE}")]
    )


def write_failed_evaluation(folder: Path, names: tuple[str, str, str], why: str) -> None:
    """What `evaluate` leaves of an evaluation that the data do not allow."""
    write_predictions(folder / "predictions.csv", names, [f"prob_{name}" for name in CLASSES], [])
    write_region_weights(folder / "region_weights.h5", [])
    write_fold_metrics(folder / "metrics.csv", [FoldMetrics(*names, number) for number in (0, 1)])
    undefined = (float("nan"),) * 4
    write_intervals(
        folder / "intervals.csv",
        [MetricInterval(*names, metric, *undefined, 0.95, 0, why) for metric in metrics_of("subtyping")],
    )


def write_table(experiment: Experiment, results: Path) -> None:
    """The table, by its own stage."""
    (table,), (task,) = experiment.tables, experiment.tasks
    evaluations = [str(results / f"tasks/dx/{v}/{h}") for v, h in itertools.product(("dino", "slpd"), ("abmil", "knn"))]
    outputs = {"csv": "toy.csv", "differences": "toy_differences.csv", "markdown": "toy.md", "latex": "toy.tex"}
    run(
        "make_table",
        *("--table", table.model_dump_json(), "--settings", experiment.intervals.model_dump_json()),
        *("--unavailable", "{}", "--tasks", task.model_dump_json(), "--evaluations", *evaluations),
        *("--absent", str(results / "tasks/dx/not_in_folds.csv")),
        *("--folds", str(results / "tasks/dx/folds.csv"), "--manifests", str(results / "cohorts/toy/slides.csv")),
        *itertools.chain(*((f"--{name}", str(results / "tables" / file)) for name, file in outputs.items())),
        *("--html", str(results / "tables/toy.html")),
    )


def write_report(experiment: Experiment, out: str = "results/toy/report") -> Path:
    """The report, by its stage."""
    run(
        "make_report",
        *("--experiment", experiment.model_dump_json(), "--results", "results/toy", "--configfiles", "toy.yaml"),
        *("--gpus", json.dumps({"evaluate": 2}), "--out", out),
    )
    return Path(out)


def run(*words: str) -> None:
    """Run a stage in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["slpd", *words])
        assert main() == 0
