"""What heads on all patches of a slide cost: memory for few and for many slides, time of a patch in a training step.

Bags of 15,000 patches x 384 values, as TCGA-NSCLC has them of 60 regions. An epoch trains on all slides but four, on
which the head is then validated and tested; each size and head in a process of its own, in one thread.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.artifacts.learned.bags import read_bags, write_patch_bags
from slpd.evaluation.cases import evaluation_data
from slpd.settings.evaluation import ClassTask, GeneratedFolds
from slpd.settings.heads import TrainedHead
from slpd.settings.load import load_experiment

CONFIG = Path(__file__).parents[1] / "config/config.yaml"
PATCHES, WIDTH = 15_000, 384
HEADS = ("abmil", "max_mil", "simlp")
FRESH = multiprocessing.get_context("spawn")


def main() -> None:
    """Measure, print it, and all of it as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, nargs="+", default=[16, 64], help="slides of the cohorts")
    parser.add_argument("--folder", type=Path, help="where the bags are written, 11.5 MB a slide; absent: temporary")
    arguments = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for n_slides in arguments.slides:
            bags = draw(Path(folder) / f"{n_slides}.h5", n_slides)
            for head in HEADS:
                with ProcessPoolExecutor(1, FRESH) as pool:
                    measured = pool.submit(epoch, bags, head, n_slides).result()
                peak, start, step = measured["peak_mb"], measured["start_mb"], 1e6 * measured["seconds_per_patch"]
                print(f"{n_slides:4} slides, {head:8} {peak:6.0f} MB, {start:.0f} MB before; {step:.1f} µs", flush=True)
                figures.append({"slides": n_slides, "head": head} | measured)
            bags.unlink()
    print(json.dumps({"patches": PATCHES, "width": WIDTH, "figures": figures}))


def draw(path: Path, n_slides: int) -> Path:
    """A file of noise."""
    rng = np.random.default_rng(0)

    def bag() -> tuple[NDArray[np.float16], NDArray[np.int64]]:
        return rng.standard_normal((PATCHES, WIDTH), np.float32).astype(np.float16), np.zeros((PATCHES, 2), np.int64)

    counts = {f"s{i:04d}": PATCHES for i in range(n_slides)}
    write_patch_bags(path, counts, WIDTH, (bag() for _ in counts))
    return path


def epoch(bags: Path, name: str, n_slides: int) -> dict[str, float]:
    """An epoch of a head, as evaluate trains it in one of its processes: peak memory, and time of a patch in it."""
    import torch  # noqa: PLC0415  the process that starts this one does without

    from slpd.evaluation.fold_training import FoldTraining  # noqa: PLC0415

    torch.set_num_threads(1)
    experiment = load_experiment(yaml.safe_load(CONFIG.read_text(encoding="utf-8")))
    head = next(head for head in experiment.heads if isinstance(head, TrainedHead) and head.name == name)
    slides = [LabelledSlide(f"s{i:04d}", f"p{i}", "ab"[i % 2]) for i in range(n_slides)]
    folds = GeneratedFolds(kind="generated", n_folds=2, validation_fraction=0.1, seed=0)
    task = ClassTask(name="noise", cohort="noise", label="kind", classes=["a", "b"], folds=folds)
    start_mb = peak_mb()
    data = evaluation_data(read_bags(bags), [Fold(slides[:-4], slides[-4:-2], slides[-2:])], task)
    training = FoldTraining(head, experiment.head_presets["modern"].model_copy(update={"epochs": 1}), data, 0)
    began = time.perf_counter()
    training.train_epoch()
    seconds = time.perf_counter() - began
    training.validation_loss()
    training.test()
    per_patch = seconds / ((n_slides - 4) * PATCHES)
    return {"start_mb": start_mb, "peak_mb": peak_mb(), "seconds_per_patch": per_patch}


def peak_mb() -> float:
    """Most memory that this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    main()
