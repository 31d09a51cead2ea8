"""Does the method's mechanism work? DINO with and without prototype terms, on cohorts with planted phenotypes.

A seed is a fresh cohort (benchmarks/phenotype_cohort.py) and fresh weights. All variants of a seed start from the same
checkpoint of plain DINO and are tested on the same folds. Training and tests are the pipeline's own stages with the
settings of config/config.yaml, but for `CHANGES`. docs/mechanism.md keeps what came out.
"""

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from snakemake.utils import update_config

from benchmarks.control import shuffled
from benchmarks.diagnostics import (
    chance_agreement,
    effective_rank,
    link_agreement,
    neighbour_agreement,
    prototype_agreement,
    variance_shares,
)
from benchmarks.intervals import mean_and_std, paired_difference
from benchmarks.phenotype_cohort import (
    COMMON_SHARE,
    GRID,
    REGIONS,
    TILT,
    TOKEN_WIDTH,
    Bags,
    Nuisances,
    Slide,
    coords_of,
    draw_cohort,
    phenotype_bags,
    single_region_auc,
    token_bags,
    write_cohort,
)
from slpd.artifacts.evaluation.fold_metrics import read_fold_metrics
from slpd.artifacts.learned.bags import read_bags, write_bags
from slpd.artifacts.learned.cohort_prototypes import read_prototypes
from slpd.artifacts.learned.encoder_file import read_region_encoder, write_region_encoder
from slpd.artifacts.learned.slide_graph_file import read_slide_graph
from slpd.artifacts.learned.training_metrics import read_metrics
from slpd.models.network import Network
from slpd.settings.experiment import Experiment
from slpd.settings.load import load_experiment
from slpd.settings.recipe import VectorRecipe
from slpd.settings.variant import Variant
from slpd.stages import distill_slpd

CONFIG = Path(__file__).parents[1] / "config/config.yaml"
CONTROL = "shuffled"  # a variant as slpd, of shuffled targets
DIFFERENCES = (  # first - second
    *((variant, "dino") for variant in ("random", "intra", "inter", "slpd", CONTROL)),
    ("slpd", "intra"),
    ("slpd", "inter"),
    ("slpd", CONTROL),
)

CHANGES: dict[str, Any] = {
    "experiment": "mechanism",
    "cohorts": [{"name": "planted", "sheet": "sheet.csv"}],
    "regions": {"region_px": 256 * GRID},
    # A network of 50 steps per second on a CPU core: 96 steps per epoch, 576 of plain DINO, 768 with prototypes.
    "region_encoder": {
        "width": 32,
        "depth": 2,
        "heads": 4,
        "position_grid": 5,
        "head_width": 128,
        "bottleneck": 32,
        "outputs": 256,
    },
    "training": {
        "epochs": 14,
        "dino_epochs": 6,
        "epochs_per_iteration": 1,
        "batch_size": 32,
        "learning_rate": 8.0e-3,  # peak 1e-3, as in the paper's experiment
        "learning_rate_warmup_epochs": 2,
        "teacher_momentum": 0.98,  # there are few steps for the teacher to follow
        "global_crop": 5,
        "local_crop": 3,
        "n_local_views": 4,
    },
    "prototypes": {"n_prototypes": 3, "min_regions": 12},  # as many as a slide shows phenotypes
    "tasks": [
        {
            "name": "class",
            "cohort": "planted",
            "label": "label",
            "classes": ["a", "b"],
            "folds": {"kind": "generated", "n_folds": 4, "validation_fraction": 0.1, "seed": 0},
        }
    ],
    "variants": [
        {"name": "dino", "objective": {"intra": 0, "inter": 0}},
        {"name": "intra", "objective": {"inter": 0}},
        {"name": "inter", "objective": {"intra": 0}},
        {"name": "slpd"},
    ],
    "heads": [
        {
            "name": "abmil",
            "kind": "abmil",
            "preset": "one_bag",
            "gated": True,
            "embedding": 192,
            "attention": 128,
            "dropout": 0.25,
        },
        {"name": "knn", "kind": "knn", "k": 5},
    ],
    "head_presets": {
        "one_bag": {  # HIPT's recipe, on standardised vectors, and the best of its epochs
            "optimiser": "adam",
            "learning_rate": 2.0e-4,
            "weight_decay": 1.0e-5,
            "epochs": 20,
            "patience": 20,
            "batch_size": 1,
            "balanced": True,
            "standardise": True,
            "loss_divisor": 1,
            "seed": 1,
        }
    },
    "tables": [],
}

Result = dict[str, Any]


def experiment_of(seed: int, changes: Mapping[str, Any]) -> Experiment:
    """The experiment of a seed: that of config.yaml with the benchmark's changes."""
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    for layer in (CHANGES, {"training": {"seed": seed}}, changes):
        update_config(config, layer)
    config["variants"] = [*config["variants"], {"name": CONTROL}]  # the list may be that of CHANGES
    return load_experiment(config)


def arguments(stage: str, **options: object) -> argparse.Namespace:
    """The arguments of a stage, parsed as from its command line."""
    parser = argparse.ArgumentParser()
    importlib.import_module(f"slpd.stages.{stage}").add_arguments(parser)
    given = {name.replace("_", "-"): str(value) for name, value in options.items() if value is not None}
    return parser.parse_args([word for name, value in given.items() for word in (f"--{name}", value)])


def run_stage(stage: str, **options: object) -> None:
    """Run a stage of the pipeline in this process, with its command line."""
    importlib.import_module(f"slpd.stages.{stage}").run(arguments(stage, **options))


class Run:
    """All that is trained and tested on the cohort of one seed, in one folder."""

    def __init__(self, folder: Path, experiment: Experiment, slides: list[Slide]) -> None:
        """Write the cohort and its folds."""
        self.folder, self.experiment, self.slides = folder, experiment, slides
        self.trained = [variant.name for variant in experiment.variants]
        self.manifest, sheet = write_cohort(folder, slides)
        self.recipe = {
            "manifest": self.manifest,
            "encoder": experiment.region_encoder.model_dump_json(),
            "training": experiment.training.model_dump_json(),
            "jobs": experiment.jobs.model_dump_json(),
        }
        self.task = experiment.tasks[0].model_dump_json()
        folds = {name: folder / f"{name}.csv" for name in ("absent", "balance")} | {"out": folder / "folds.csv"}
        run_stage("split_folds", sheet=sheet, manifest=self.manifest, task=self.task, **folds)

    def outputs(self, name: str) -> dict[str, Path]:
        """The files of a trained encoder."""
        files = {"teacher": "safetensors", "embeddings": "h5", "metrics": "csv"}
        return {option: self.folder / f"{name}.{ending}" for option, ending in files.items()}

    def warm_up(self) -> None:
        """Plain DINO, which all variants share; and the untrained start, as an encoder."""
        files = {"checkpoint": self.folder / "warmup.pt", "live": self.folder / "warmup.live"}
        run_stage("pretrain_dino", **self.recipe, **self.outputs("warmup"), **files)
        _, card = read_region_encoder(self.outputs("warmup")["teacher"])
        untrained = Network(self.experiment.region_encoder, card.token_width)
        untrained.draw_weights(self.experiment.training.seed)
        write_region_encoder(self.outputs("random")["teacher"], untrained.backbone.state_dict(), card)

    def settings(self, variant: Variant) -> tuple[str, str]:
        """The sections `prototypes` and `slide_graph` of a variant, as JSON."""
        prototypes = self.experiment.prototypes_of(self.experiment.cohorts[0], variant)
        return prototypes.model_dump_json(), self.experiment.slide_graph_of(variant).model_dump_json()

    def distill(self, variant: Variant) -> None:
        """All iterations of a variant."""
        objective = self.experiment.objective_of(variant).model_dump_json()
        prototypes, slide_graph = self.settings(variant)
        kept, last = self.folder / f"{variant.name}_training", self.folder / f"{variant.name}_last.h5"
        args = arguments(
            "distill_slpd",
            **self.recipe,
            objective=objective,
            prototypes=prototypes,
            slide_graph=slide_graph,
            start=self.folder / "warmup.pt",
            folder=kept,
            iterations=self.folder / f"{variant.name}_iterations",
            live=self.folder / f"{variant.name}.live",
            out=last,
        )
        told = distill_slpd.VariantRecipe.of(args)
        renew = told.renew()
        if renew and variant.name == CONTROL:
            renew = shuffled(renew, self.experiment.training.seed)
        distill_slpd.distill(args, told, renew)
        run_stage(
            "collect_iterations",
            **self.outputs(variant.name),
            folder=kept,
            last_embeddings=last,
            n_iterations=self.experiment.training_of(variant).n_iterations,
            objective=objective,
            iterations=self.folder / f"{variant.name}_iterations.npz",
        )

    def embed(self, variant: str) -> Bags:
        """Region vectors of the last teacher of a variant."""
        bags = self.folder / f"{variant}_bags.h5"
        teacher = self.outputs(variant)["teacher"]
        run_stage("embed_bags", manifest=self.manifest, teacher=teacher, out=bags)
        return {slide: np.asarray(bag) for slide, bag in read_bags(bags).items()}

    def evaluate(self, variant: str, bags: Bags) -> dict[str, float]:
        """AUC of every head, mean over folds."""
        path = self.folder / f"{variant}_tested.h5"
        write_bags(path, bags, {slide.name: coords_of(slide) for slide in self.slides})
        cohort, first = self.experiment.cohorts[0], self.experiment.variants[0]
        recipe = VectorRecipe.of(self.experiment, cohort, first).model_copy(update={"variant": variant})
        aucs = {}
        for head in self.experiment.heads:
            preset = self.experiment.preset_of(head)
            files = {
                name: self.folder / f"{variant}_{head.name}_{name}"
                for name in ("predictions", "metrics", "intervals", "calibration", "weights", "heads")
            } | {"resamples": self.folder / f"{variant}_{head.name}.npz"}
            run_stage(
                "evaluate",
                bags=path,
                folds=self.folder / "folds.csv",
                task=self.task,
                head=head.model_dump_json(),
                preset=preset and preset.model_dump_json(),
                settings=self.experiment.intervals.model_dump_json(),
                variant=variant,
                manifests=self.manifest,
                recipe=recipe.model_dump_json(),
                **files,
            )
            aucs[head.name] = float(np.mean([fold.auc for fold in read_fold_metrics(files["metrics"])]))
        return aucs

    def diagnose(self, variant: str) -> dict[str, float]:
        """What the prototypes and the graph of a variant's last teacher hold, and how its training ended."""
        prototypes, graph = self.folder / f"{variant}_prototypes.npz", self.folder / f"{variant}_graph.npz"
        settings = self.settings(self.experiment.variants[0])
        outputs = self.outputs(variant)
        run_stage("cluster_regions", embeddings=outputs["embeddings"], settings=settings[0], out=prototypes)
        run_stage("link_slides", prototypes=prototypes, settings=settings[1], out=graph)
        content, links = read_prototypes(prototypes), read_slide_graph(graph)
        epoch = read_metrics(outputs["metrics"])[-1]
        return {
            "prototype_ami": prototype_agreement(content, self.slides),
            "neighbour_agreement": neighbour_agreement(links, self.slides),
            "link_agreement": link_agreement(content, links, self.slides),
            "teacher_entropy": epoch.teacher_entropy,
            **epoch.terms,
        }


def run_seed(seed: int, n_slides: int, nuisances: Nuisances, changes: Mapping[str, Any]) -> Result:
    """Train and test everything on the cohort of one seed, in one thread."""
    torch.set_num_threads(1)
    started = time.monotonic()
    slides = draw_cohort(seed, n_slides, nuisances)
    result: Result = {
        "seed": seed,
        "single_region_auc": single_region_auc(slides),
        "chance_agreement": chance_agreement(slides),
        "variants": {},
    }
    with tempfile.TemporaryDirectory(prefix="mechanism-") as folder:
        run = Run(Path(folder), experiment_of(seed, changes), slides)
        run.warm_up()
        for variant in run.experiment.variants:
            run.distill(variant)
        given = {"phenotypes": phenotype_bags(slides), "tokens": token_bags(slides)}
        for name in (*given, "random", *run.trained):
            bags = given[name] if name in given else run.embed(name)
            found: dict[str, float] = {**run.evaluate(name, bags), **variance_shares(bags, slides)}
            found["effective_rank"] = effective_rank(bags)
            if name in run.trained:
                found |= run.diagnose(name)
            result["variants"][name] = found
        result["variants"]["warmup"] = run.diagnose("warmup")
    return result | {"seconds": time.monotonic() - started}


def summarise(results: Sequence[Result], heads: Sequence[str]) -> Result:
    """Means and deviations over seeds, and intervals of paired differences."""

    def values(variant: str, key: str) -> list[float]:
        return [result["variants"][variant][key] for result in results]

    variants: dict[str, dict[str, float]] = results[0]["variants"]
    return {
        "auc": {
            name: {head: mean_and_std(values(name, head))._asdict() for head in heads}
            for name, found in variants.items()
            if heads[0] in found  # not of the warm-up, which is no variant
        },
        "differences": {
            f"{first} - {second}": {
                head: paired_difference(values(first, head), values(second, head))._asdict() for head in heads
            }
            for first, second in DIFFERENCES
        },
        "diagnostics": {
            name: {key: mean_and_std(values(name, key))._asdict() for key in found if key not in heads}
            for name, found in variants.items()
        },
    }


def print_summary(summary: Result, results: Sequence[Result], heads: Sequence[str]) -> None:
    """The figures, for people."""
    for key in ("single_region_auc", "chance_agreement"):
        print(f"{key}: {np.mean([result[key] for result in results]):.3f}")
    print(f"\nAUC, mean ± std over {len(results)} seeds")
    for name, found in summary["auc"].items():
        print(f"{name:16}", *(f"{head} {auc['mean']:.3f} ± {auc['std']:.3f}  " for head, auc in found.items()))
    print("\npaired differences, mean [95 % interval]")
    for name, found in summary["differences"].items():
        cells = (f"{head} {d['mean']:+.3f} [{d['low']:+.3f}, {d['high']:+.3f}]  " for head, d in found.items())
        print(f"{name:16}", *cells)
    print("\ndiagnostics, mean ± std over seeds")
    for name, found in summary["diagnostics"].items():
        print(f"{name:16}", *(f"{key} {value['mean']:.3f} ± {value['std']:.3f}  " for key, value in found.items()))


def main() -> None:
    """Run the seeds, print tables, and as the last line all figures and settings as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8, help="how many seeds, at least 2")
    parser.add_argument("--first-seed", type=int, default=0, help="the first of them")
    parser.add_argument("--processes", type=int, default=2, help="seeds that run at a time, one thread each")
    parser.add_argument("--slides", type=int, default=128, help="slides per cohort, a multiple of 8")
    parser.add_argument("--nuisances", type=json.loads, default={}, help="other standard deviations, as JSON")
    parser.add_argument("--changes", type=json.loads, default={}, help="other settings than CHANGES, as JSON")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # read when the processes start
    seeds, nuisances = range(args.first_seed, args.first_seed + args.seeds), Nuisances(**args.nuisances)
    started = time.monotonic()
    with ProcessPoolExecutor(args.processes, mp_context=get_context("spawn")) as pool:
        work = [pool.submit(run_seed, seed, args.slides, nuisances, args.changes) for seed in seeds]
        for done in as_completed(work):
            print(f"seed {done.result()['seed']}: {done.result()['seconds']:.0f} s", file=sys.stderr)
        results = [done.result() for done in work]
    experiment = experiment_of(seeds[0], args.changes)
    heads = [head.name for head in experiment.heads]
    summary = summarise(results, heads)
    print_summary(summary, results, heads)
    cohort = {"slides": args.slides, "regions": REGIONS, "grid": GRID, "token_width": TOKEN_WIDTH, "tilt": TILT}
    cohort |= {"common_share": COMMON_SHARE, "nuisances": asdict(nuisances)}
    settings = {"seeds": list(seeds), "cohort": cohort, "experiment": experiment.model_dump()}
    seconds = time.monotonic() - started
    print(json.dumps({"settings": settings, **summary, "per_seed": results, "seconds": seconds}))


if __name__ == "__main__":
    main()
