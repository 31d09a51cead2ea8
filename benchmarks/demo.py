"""Does the demo hold on other draws of its cohort? DINO and SLPD on fresh cohorts of config/demo_cohort.yaml.

A seed is a fresh cohort, fresh weights of the region encoder and fresh folds, with the settings of config/demo.yaml.
Slides are drawn as `make_cohort` draws them, and their regions encoded as `encode_patches` does, without the files in
between: no JPEG, no faulty slides, and regions are taken where the drawing has tissue. Training and tests are the
pipeline's own stages. docs/demo.md keeps what came out.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from snakemake.utils import update_config

from benchmarks.intervals import mean_and_std, paired_difference
from benchmarks.mechanism import CONFIG, Result, Run
from benchmarks.phenotype_cohort import Slide, token_bags
from slpd.analysis.kind_agreement import region_kinds
from slpd.artifacts.learned.iteration_history import read_iterations
from slpd.artifacts.learned.slide_graph_file import read_slide_graph
from slpd.models.patch_encoder import PatchEncoder
from slpd.report.atlas import mean_over_slides
from slpd.report.stability import stability
from slpd.settings.experiment import Experiment
from slpd.settings.load import load_experiment
from slpd.settings.synthetic import ProceduralCohort
from slpd.stages.encode_patches import read_weights
from slpd.synthetic.phenotypes import NAMES
from slpd.synthetic.procedural import DRAWN_MPP
from slpd.synthetic.procedural_cohort import paint_procedural, plan_procedural
from slpd.training import devices

FOLDER = CONFIG.parent
# Least share of a region that is drawn as tissue. Squares that are half glass count as glass: with 0.75, about as many
# regions are taken as `tile_regions` takes with a `min_tissue` of 0.95.
DRAWN_TISSUE = 0.75
TRAINED = ("dino", "slpd")
ROWS = ("vit256_mean", "random", *TRAINED)
DIFFERENCES = (("slpd", "dino"), ("slpd", "vit256_mean"), ("slpd", "random"), ("dino", "random"))


def experiment_of(seed: int, changes: Mapping[str, Any]) -> Experiment:
    """The demo's experiment with other seeds and changes, on a sheet whose label column is called `label`."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    update_config(config, yaml.safe_load((FOLDER / "demo.yaml").read_text(encoding="utf-8")))
    update_config(config, {"training": {"seed": seed}, "tables": []})
    update_config(config, changes)
    config["variants"] = [variant for variant in config["variants"] if variant["name"] in TRAINED]
    (task,) = config["tasks"]
    config["tasks"] = [task | {"label": "label", "folds": task["folds"] | {"seed": seed}}]
    return load_experiment(config)


def cohort_of(seed: int, drawn: Mapping[str, Any]) -> ProceduralCohort:
    """The demo's cohort with another seed, other values, and without faults."""
    config = yaml.safe_load((FOLDER / "demo_cohort.yaml").read_text(encoding="utf-8"))
    plain = {"seed": seed, "flaws": [], "files_not_slides": 0, "slides_without_mpp": 0, "mpps": [DRAWN_MPP]}
    return ProceduralCohort.model_validate(config | plain | drawn)


def draw_slides(cohort: ProceduralCohort, side: int, encoder: PatchEncoder) -> tuple[list[Slide], list[str]]:
    """The slides with tokens and known kinds of their regions of `side` pixels, and the scanner of each."""
    slides, scanners = [], []
    for planned in plan_procedural(cohort):
        rgb, squares = paint_procedural(cohort, planned)
        tissue = np.array([(s.x_lv0 + s.side_lv0 / 2, s.y_lv0 + s.side_lv0 / 2) for s in squares])
        corners = [
            corner
            for corner in np.argwhere(np.ones((rgb.shape[0] // side, rgb.shape[1] // side)))[:, ::-1] * side
            if tissue_share(corner, side, tissue, squares[0].side_lv0) >= DRAWN_TISSUE
        ]
        tokens = [encoder.encode(np.ascontiguousarray(cut(rgb, corner, side)), DRAWN_MPP).tokens for corner in corners]
        kinds = [NAMES.index(kind) for kind in region_kinds(np.array(corners), side, squares)]
        shown = tuple(NAMES.index(kind) for kind in planned.kinds)
        of_slide = (planned.slide, planned.label, shown, np.array(kinds), np.stack(tokens), planned.patient)
        slides.append(Slide(*of_slide))  # type: ignore[arg-type]
        scanners.append(planned.scanner)
    return slides, scanners


def tissue_share(corner: NDArray[np.int64], side: int, centres: NDArray[np.float64], square_side: int) -> float:
    """The share of a region that is tissue, by the squares whose centres (n, 2) it holds."""
    inside = ((centres >= corner) & (centres < corner + side)).all(axis=1).sum()
    return float(inside * square_side**2 / side**2)


def cut(rgb: NDArray[np.uint8], corner: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
    """A region of a picture, by its corner x, y."""
    x, y = corner.tolist()
    return rgb[y : y + side, x : x + side]


def shared(run: Run, variant: str, values: Sequence[str]) -> float:
    """The share of nearest slides that have the same value as their slide, in a graph that `Run.diagnose` left.

    Pairs of slides of one patient are left out.
    """
    nearest = read_slide_graph(run.folder / f"{variant}_graph.npz").neighbours[:, 0]
    patients = [slide.patient for slide in run.slides]
    pairs = [(slide, other) for slide, other in enumerate(nearest) if patients[slide] != patients[other]]
    return float(np.mean([values[slide] == values[other] for slide, other in pairs]))


def run_seed(seed: int, drawn: Mapping[str, Any], changes: Mapping[str, Any]) -> Result:
    """Draw, train and test everything of one seed, in one thread."""
    devices.THREADS = 1  # processes beside each other, a core each
    torch.set_num_threads(1)
    started, experiment = time.monotonic(), experiment_of(seed, changes)
    encoder = PatchEncoder(experiment.patch_encoder, read_weights(experiment.patch_encoder), 1024)
    slides, scanners = draw_slides(cohort_of(seed, drawn), experiment.regions.region_px, encoder)
    labels = [slide.label for slide in slides]
    result: Result = {"seed": seed, "regions": sum(len(slide.regions) for slide in slides), "variants": {}}
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        run = Run(Path(folder), experiment, slides)
        run.warm_up()
        for variant in experiment.variants:
            run.distill(variant)
        for name in ROWS:
            figures = run.evaluate(name, token_bags(slides) if name == "vit256_mean" else run.embed(name))
            result["variants"][name] = figures
        for name in ("warmup", *TRAINED):
            found = run.diagnose(name)
            found |= {"same_class": shared(run, name, labels), "same_scanner": shared(run, name, scanners)}
            result["variants"].setdefault(name, {}).update(found)
        result["moved"] = moved(run)
    return result | {"seconds": time.monotonic() - started}


def moved(run: Run) -> list[float]:
    """Share of a slide's regions that moved between successive iterations of `slpd`, mean over slides."""
    history = read_iterations(run.folder / "slpd_iterations.npz")
    means: list[float] = mean_over_slides(stability(history.assignments, history.offsets).moved).round(3).tolist()
    return means


def summarise(results: Sequence[Result], heads: Sequence[str]) -> dict[str, Any]:
    """Means and deviations over seeds, and intervals of paired differences."""

    def values(variant: str, key: str) -> list[float]:
        return [result["variants"][variant][key] for result in results]

    return {
        "figures": {
            name: {key: mean_and_std(values(name, key))._asdict() for key in results[0]["variants"][name]}
            for name in results[0]["variants"]
        },
        "differences": {
            f"{first} - {second}": {
                head: paired_difference(values(first, head), values(second, head))._asdict() for head in heads
            }
            for first, second in DIFFERENCES
        },
    }


def main() -> None:
    """Run the seeds; the last line is JSON with all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(11, 19)), help="at least two")
    parser.add_argument("--processes", type=int, default=2, help="seeds that run at a time, one thread each")
    parser.add_argument("--drawn", type=json.loads, default={}, help="other values of demo_cohort.yaml, as JSON")
    parser.add_argument("--changes", type=json.loads, default={}, help="other values of demo.yaml, as JSON")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # read when the processes start
    with ProcessPoolExecutor(args.processes, mp_context=get_context("spawn")) as pool:
        work = [pool.submit(run_seed, seed, args.drawn, args.changes) for seed in args.seeds]
        for done in as_completed(work):
            print(json.dumps(done.result()), file=sys.stderr, flush=True)
        results = [done.result() for done in work]
    summary = summarise(results, [head.name for head in experiment_of(0, args.changes).heads])
    for name, figures in (summary["figures"] | summary["differences"]).items():
        print(name, json.dumps(figures))
    print(json.dumps({"drawn": args.drawn, "changes": args.changes, "per_seed": results, **summary}))


if __name__ == "__main__":
    main()
