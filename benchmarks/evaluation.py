"""Are heads trained right, and fast? ABMIL on the classical sets, and the ten folds of a task together or one by one.

Speed: a cohort of 1,000 slides x 60 regions x 192 values, ten folds. Baselines in the same run: the plain loop, fold
after fold and bag after bag, with torch's own layers and HIPT's recipe; and this project's code, one fold at a time.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.mil_sets import accuracies, mil_set
from slpd.artifacts.folds import LabelledSlide
from slpd.evaluation.cases import Cases, EvaluationData, FoldCases, evaluation_data
from slpd.evaluation.generated_folds import generate_folds
from slpd.evaluation.metrics import point_metrics
from slpd.evaluation.train_heads import FoldGroup, one_thread_each, predict_trained
from slpd.settings.evaluation import ClassTask, GeneratedFolds
from slpd.settings.experiment import load_experiment
from slpd.settings.heads import AbmilHead, HeadPreset

CONFIG = Path(__file__).parents[1] / "config/config.yaml"
PUBLISHED = {  # Ilse et al. 2018, Table 1: attention and gated attention, ten folds, five repetitions
    "musk1": {"attention": "0.892 +- 0.040", "gated": "0.900 +- 0.050", "wanted": 0.86},
    "elephant": {"attention": "0.868 +- 0.022", "gated": "0.857 +- 0.027", "wanted": 0.83},
}
SLIDES, REGIONS, WIDTH, FOLDS = 1000, 60, 192, 10


def main() -> None:
    """Run what is asked, print it, and all of it as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mil", type=Path, help="folder of musk1.csv and elephant.csv; absent: only speed")
    parser.add_argument("--seeds", type=int, default=5, help="repetitions of the ten folds of a set")
    parser.add_argument(
        "--slides", type=int, default=SLIDES, help="slides of the cohort whose folds are timed; 0: none"
    )
    arguments = parser.parse_args()
    experiment = load_experiment(yaml.safe_load(CONFIG.read_text(encoding="utf-8")))
    figures: dict[str, object] = {}
    if arguments.mil:
        figures["sets"] = classical_sets(arguments.mil, experiment.head_presets["modern"], arguments.seeds)
    if arguments.slides:
        head = next(head for head in experiment.heads if isinstance(head, AbmilHead))
        figures["speed"] = speed(head, experiment.head_presets, arguments.slides)
    print(json.dumps(figures))


def classical_sets(folder: Path, modern: HeadPreset, n_seeds: int) -> dict[str, object]:
    """Accuracy on MUSK1 and ELEPHANT.

    Their folds are too small to keep bags for validation, so the last epoch is tested.
    """
    preset = modern.model_copy(update={"patience": None})
    found: dict[str, object] = {}
    for name, published in PUBLISHED.items():
        for gated in (False, True):
            head = AbmilHead(
                kind="abmil", name="abmil", preset="modern", gated=gated, embedding=128, attention=64, dropout=0.25
            )
            of_seeds = [set_accuracy(folder / f"{name}.csv", head, preset, seed) for seed in range(n_seeds)]
            kind = "gated" if gated else "attention"
            std = float(np.std(of_seeds, ddof=1)) if n_seeds > 1 else None
            found[f"{name}_{kind}"] = {"mean": float(np.mean(of_seeds)), "std_over_seeds": std, **published}
            print(f"{name:9} {kind:10} {np.mean(of_seeds):.3f} over {n_seeds} x 10 folds; published {published[kind]}")
    return found


def set_accuracy(path: Path, head: AbmilHead, preset: HeadPreset, seed: int) -> float:
    """Mean accuracy of ten folds."""
    data = mil_set(path, n_folds=FOLDS, validation_fraction=0, seed=seed)
    outputs = predict_trained(head, preset.model_copy(update={"seed": seed}), data)
    return float(np.mean(accuracies(data, [fold.outputs for fold in outputs])))


def speed(head: AbmilHead, presets: dict[str, HeadPreset], n_slides: int) -> dict[str, object]:
    """Seconds of ten folds, and the mean AUC that came out."""
    data = planted_cohort(n_slides)
    ways: dict[str, Callable[[], list[NDArray[np.float64]]]] = {
        "hipt, plain loop": lambda: plain_loop(head, presets["hipt"], data),
        "hipt, folds together": lambda: together(head, presets["hipt"], data),
        "modern, one fold at a time": lambda: one_by_one(head, presets["modern"], data),
        "modern, folds together": lambda: together(head, presets["modern"], data),
    }
    found: dict[str, object] = {"slides": n_slides, "regions": REGIONS, "width": WIDTH, "folds": FOLDS}
    seconds = {}
    for name, way in ways.items():
        start, cpu_start = time.perf_counter(), time.process_time()
        outputs = way()
        seconds[name], cpu = time.perf_counter() - start, time.process_time() - cpu_start
        tests = [fold.test.outcomes for fold in data.folds]
        auc = np.mean([point_metrics("subtyping", *fold)["auc"] for fold in zip(tests, outputs, strict=True)])
        found[name] = {"seconds": seconds[name], "cpu_seconds": cpu, "auc": float(auc)}
        print(f"{name:28} {seconds[name]:7.1f} s, {cpu:7.1f} s of CPU   AUC {auc:.3f}", flush=True)
    ratios = {
        "hipt": seconds["hipt, plain loop"] / seconds["hipt, folds together"],
        "modern": seconds["modern, one fold at a time"] / seconds["modern, folds together"],
        "default against plain loop": seconds["hipt, plain loop"] / seconds["modern, folds together"],
    }
    print("ratios:", ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()))
    return found | {"ratios": ratios, "torch": torch.__version__, "cores": os.cpu_count()}


def planted_cohort(n_slides: int) -> EvaluationData:
    """Bags of noise; in every other slide an eighth of the regions leans along one axis."""
    rng = np.random.default_rng(0)
    axis = rng.normal(size=WIDTH)
    axis *= 3 / np.linalg.norm(axis)
    slides = [LabelledSlide(f"s{i:04d}", f"p{i:04d}", "ab"[i % 2]) for i in range(n_slides)]
    bags = {}
    for slide in slides:
        bag = rng.normal(size=(REGIONS, WIDTH))
        bag[: REGIONS // 8] += axis * (slide.label == "b")
        bags[slide.slide] = bag.astype(np.float32)
    folds = GeneratedFolds(kind="generated", n_folds=FOLDS, validation_fraction=0.1, seed=0)
    task = ClassTask(name="planted", cohort="c", label="l", classes=["a", "b"], folds=folds)
    return evaluation_data(bags, generate_folds(task.classes, slides, folds), task)


def together(head: AbmilHead, preset: HeadPreset, data: EvaluationData) -> list[NDArray[np.float64]]:
    """As `evaluate` does it."""
    return [found.outputs for found in predict_trained(head, preset, data)]


@one_thread_each()
def one_by_one(head: AbmilHead, preset: HeadPreset, data: EvaluationData) -> list[NDArray[np.float64]]:
    """This project's code, one fold at a time."""
    return [
        FoldGroup(head, preset, data, {number: fold}).fit().test()[0].outputs for number, fold in enumerate(data.folds)
    ]


class PlainAbmil(nn.Module):
    """Gated ABMIL of torch's layers, for one bag."""

    def __init__(self, head: AbmilHead) -> None:
        """As `head` says."""
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(WIDTH, head.embedding), nn.ReLU(), nn.Dropout(head.dropout))
        self.v, self.u = (nn.Linear(head.embedding, head.attention) for _ in range(2))
        self.w = nn.Linear(head.attention, 1, bias=False)
        self.classify = nn.Linear(head.embedding, 2)

    def forward(self, bag: Tensor) -> Tensor:
        """(n, D) -> (1, 2)."""
        h = self.embed(bag)
        attention = self.w(torch.tanh(self.v(h)) * torch.sigmoid(self.u(h))).softmax(dim=0)  # (n, 1)
        return self.classify(attention.T @ h)  # type: ignore[no-any-return]


@one_thread_each()
def plain_loop(head: AbmilHead, preset: HeadPreset, data: EvaluationData) -> list[NDArray[np.float64]]:
    """Fold after fold, a step per bag, the last epoch."""
    features = torch.from_numpy(data.features)
    return [train_plainly(head, preset, features, fold) for fold in data.folds]


def train_plainly(head: AbmilHead, preset: HeadPreset, features: Tensor, fold: FoldCases) -> NDArray[np.float64]:
    """One fold."""
    torch.manual_seed(preset.seed)
    model = PlainAbmil(head)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=preset.learning_rate, weight_decay=preset.weight_decay, fused=True
    )
    bags, classes = bags_of(features, fold.train), torch.from_numpy(fold.train.outcomes.numbers)
    weights = 1 / torch.bincount(classes)[classes].float()
    for _ in range(preset.epochs):
        for i in torch.multinomial(weights, len(bags), replacement=True).tolist():
            loss = nn.functional.cross_entropy(model(bags[i]), classes[i : i + 1]) / preset.loss_divisor
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
    model.eval()
    with torch.inference_mode():
        logits = torch.cat([model(bag) for bag in bags_of(features, fold.test)])
    return logits.double().softmax(dim=1).numpy()


def bags_of(features: Tensor, cases: Cases) -> Sequence[Tensor]:
    """The bags of some cases."""
    return [features[torch.from_numpy(rows)] for rows in cases.rows]


if __name__ == "__main__":
    main()
