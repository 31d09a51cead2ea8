"""Train and test a head on every fold of a task."""

import argparse
import hashlib
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from slpd.artifacts.evaluation.absent_slides import read_absent
from slpd.artifacts.evaluation.fold_metrics import FoldMetrics, write_fold_metrics
from slpd.artifacts.evaluation.folds import read_folds
from slpd.artifacts.evaluation.metric_intervals import MetricInterval, write_intervals
from slpd.artifacts.evaluation.predictions import FoldPredictions, write_predictions
from slpd.artifacts.evaluation.region_weights import SlideWeights, write_region_weights
from slpd.artifacts.evaluation.reliability_table import write_calibration
from slpd.artifacts.evaluation.resamples import write_resamples
from slpd.artifacts.evaluation.trained_heads import HeadCard, write_trained_heads
from slpd.artifacts.learned.bags import read_bags
from slpd.artifacts.patch_tokens.token_kind import TokenKind, read_token_kind
from slpd.artifacts.slides.manifest import used_slides
from slpd.errors import EvaluationError, UserError
from slpd.evaluation.cases import Cases, evaluation_data
from slpd.evaluation.fold_reference import FoldReference, fold_reference
from slpd.evaluation.folds_without import folds_without
from slpd.evaluation.head_output import HeadOutput
from slpd.evaluation.intervals import metric_intervals, tested_patients
from slpd.evaluation.metrics import point_metrics, predicted_classes
from slpd.evaluation.prediction import predict
from slpd.evaluation.reliability import reliability
from slpd.evaluation.risk_groups import risk_groups
from slpd.evaluation.survival import risk
from slpd.settings.evaluation import ClassTask, Intervals, RegressionTask, SurvivalTask, TaskSettings, task_from_json
from slpd.settings.heads import AnyHead, HeadPreset, head_from_json
from slpd.settings.recipe import VectorRecipe
from slpd.settings.tables import metrics_of
from slpd.versions import training_versions

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--bags", type=Path, nargs="+", required=True, help="bags of the cohort, and of the task's test cohort (HDF5)"
    )
    parser.add_argument(
        "--absent", type=Path, nargs="*", default=[], help="slides that have no bag and are in no split (CSV)"
    )
    parser.add_argument("--folds", type=Path, required=True, help="folds of the task (CSV)")
    parser.add_argument("--task", required=True, help="the task (JSON)")
    parser.add_argument("--head", required=True, help="the head (JSON)")
    # `?`: the rule writes the option also for heads that have none
    parser.add_argument("--preset", nargs="?", help="how the head is trained (JSON), if it is trained in steps")
    parser.add_argument("--settings", required=True, help="section intervals of the config (JSON)")
    parser.add_argument("--variant", required=True, help="name of the variant whose bags these are")
    parser.add_argument("--predictions", type=Path, required=True, help="predictions to write (CSV)")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics of every fold to write (CSV)")
    parser.add_argument("--intervals", type=Path, required=True, help="metrics over folds to write (CSV)")
    parser.add_argument("--calibration", type=Path, required=True, help="reliability to write (CSV)")
    parser.add_argument("--weights", type=Path, required=True, help="weights of regions to write (HDF5)")
    parser.add_argument("--heads", type=Path, required=True, help="trained heads of all folds to write (.safetensors)")
    parser.add_argument("--resamples", type=Path, required=True, help="metrics of resampled patients to write (.npz)")
    parser.add_argument(
        "--manifests", type=Path, nargs="+", required=True, help="manifests of the cohort and of the test cohort"
    )
    parser.add_argument("--encoder", type=Path, nargs="?", help="the region encoder that made the bags, for the card")
    parser.add_argument("--recipe", required=True, help="how slides became region vectors (JSON), for the card")


def run(args: argparse.Namespace) -> None:
    """Read bags and folds, train and test on every fold, write; or write why the data do not allow it."""
    task, head = task_from_json(args.task), head_from_json(args.head)
    preset = HeadPreset.from_json(args.preset) if args.preset else None
    settings = Intervals.from_json(args.settings)
    folds, source = read_folds(args.folds), (task.name, args.variant, head.name)
    card = head_card(args, task, head, preset, len(folds))
    try:
        absent = {slide.slide for path in args.absent for slide in read_absent(path)}
        bags = {slide: bag for path in args.bags for slide, bag in read_bags(path).items()}
        data = evaluation_data(bags, folds_without(folds, absent), task)
        outputs = predict(head, preset, data)
    except EvaluationError as error:
        log.warning("no figures: %s", error)
        write_reason(args, task, source, len(folds), " ".join(str(error).split()))
        write_trained_heads(args.heads, [], card)
        return
    tests = [fold.test for fold in data.folds]
    references = [fold_reference(data, fold, output) for fold, output in zip(data.folds, outputs, strict=True)]
    metrics = fold_metrics_of(task, source, tests, outputs, references)
    for fold in metrics:
        log_metrics(fold, task)
    intervals = metric_intervals(task.kind, tests, [output.outputs for output in outputs], settings, references)
    write_predictions(args.predictions, source, task.outputs, predictions_of(task, tests, outputs))
    write_region_weights(args.weights, region_weights(tests, outputs))
    write_trained_heads(args.heads, [output.parameters for output in outputs], card)
    write_calibration(args.calibration, calibration_rows(task, source, tests, outputs))
    write_resamples(args.resamples, {m: i.resampled for m, i in intervals.items()}, tested_patients(tests))
    write_intervals(
        args.intervals,
        [
            MetricInterval(*source, metric, i.mean, i.std, i.low, i.high, settings.level, i.n_folds)
            for metric, i in intervals.items()
        ],
    )
    write_fold_metrics(args.metrics, metrics)


def write_reason(
    args: argparse.Namespace, task: TaskSettings, source: tuple[str, str, str], n_folds: int, why: str
) -> None:
    """Write the results of an evaluation that the data do not allow: the reason, and no predictions."""
    level = Intervals.from_json(args.settings).level
    undefined = (math.nan, math.nan, math.nan, math.nan)
    write_predictions(args.predictions, source, task.outputs, [])
    write_region_weights(args.weights, [])
    write_calibration(args.calibration, [])
    write_resamples(args.resamples, {}, [])
    write_intervals(
        args.intervals, [MetricInterval(*source, m, *undefined, level, 0, why) for m in metrics_of(task.kind)]
    )
    write_fold_metrics(args.metrics, [FoldMetrics(*source, number) for number in range(n_folds)])


def head_card(
    args: argparse.Namespace,
    task: TaskSettings,
    head: AnyHead,
    preset: HeadPreset | None,
    n_folds: int,
) -> HeadCard:
    """What the trained heads are, and what they read."""
    recipe, encoder = VectorRecipe.from_json(args.recipe), args.encoder
    from_elsewhere = recipe.source in ("slide_vectors", "region_vectors")  # of no tokens that are here
    tokens = read_one_kind(args.manifests[:1] if from_elsewhere else args.manifests)
    return HeadCard(
        task=task,
        head=head,
        preset=preset,
        n_folds=n_folds,
        recipe=recipe,
        encoder=str(encoder or ""),
        encoder_sha256=hashlib.sha256(encoder.read_bytes()).hexdigest() if encoder else "",
        tokens=tokens,
        versions=training_versions(),
    )


def read_one_kind(manifests: Sequence[Path]) -> TokenKind:
    """Of what kind the tokens of the first manifest are.

    Raises:
        UserError: those of another are of another kind.
    """
    firsts = [row for path in manifests for row in used_slides(path)[:1]]
    kinds = [read_token_kind(row.tokens) for row in firsts if row.tokens]
    for row, kind in zip(firsts, kinds, strict=True):
        if differences := kinds[0].differences(kind):
            raise UserError(
                f"slide {row.record.slide}: its tokens in {row.tokens} are of another kind than those of slide"
                f" {firsts[0].record.slide}, which heads and encoder were trained on: {'; '.join(differences)}; encode"
                " both cohorts in one way"
            )
    return kinds[0]


def fold_metrics_of(
    task: TaskSettings,
    source: tuple[str, str, str],
    tests: Sequence[Cases],
    outputs: Sequence[HeadOutput],
    references: Sequence[FoldReference],
) -> list[FoldMetrics]:
    """Lines of metrics.csv."""
    name, variant, head = source
    return [
        FoldMetrics(
            name,
            variant,
            head,
            number,
            **{str(m): value for m, value in metrics.items()},
            thresholds=reference.thresholds_text,
        )
        for number, (test, output, reference) in enumerate(zip(tests, outputs, references, strict=True))
        for metrics in [point_metrics(task.kind, test.outcomes, output.outputs, reference)]
    ]


def predictions_of(task: TaskSettings, tests: Sequence[Cases], outputs: Sequence[HeadOutput]) -> list[FoldPredictions]:
    """The predictions for every test case."""
    return [
        FoldPredictions(test.slides, predicted(task, output), output.outputs, groups(task, output))
        for test, output in zip(tests, outputs, strict=True)
    ]


def predicted(task: TaskSettings, output: HeadOutput) -> list[str]:
    """The predicted class of every case, or its risk, or its value."""
    if isinstance(task, SurvivalTask):
        return [str(float(value)) for value in risk(output.outputs)]
    if isinstance(task, RegressionTask):
        return [str(float(value)) for value in output.outputs[:, 0]]
    return [task.classes[number] for number in predicted_classes(output.outputs, task.kind)]


def groups(task: TaskSettings, output: HeadOutput) -> list[str]:
    """The risk group of every case; classes have none."""
    survival = isinstance(task, SurvivalTask)
    return risk_groups(output.outputs, output.cut_outputs) if survival else [""] * len(output.outputs)


def region_weights(tests: Sequence[Cases], outputs: Sequence[HeadOutput]) -> list[SlideWeights]:
    """The weights of every fold and test slide; those of a patient are shared out to the patient's slides."""
    return [
        SlideWeights(number, slide.slide, piece)
        for number, (test, output) in enumerate(zip(tests, outputs, strict=True))
        for case, sizes, weights in zip(test.slides, test.sizes, output.weights, strict=True)
        for slide, piece in zip(case, np.split(weights, np.cumsum(sizes)[:-1]), strict=True)
    ]


def calibration_rows(
    task: TaskSettings, source: tuple[str, str, str], tests: Sequence[Cases], outputs: Sequence[HeadOutput]
) -> list[tuple[object, ...]]:
    """Lines of calibration.csv."""
    if not isinstance(task, ClassTask):
        return []
    bins = reliability([test.outcomes.numbers for test in tests], [output.outputs for output in outputs])
    return [
        (*source, task.classes[b.class_number], b.low, b.high, b.n_cases, b.mean_probability, b.observed_share)
        for b in bins
    ]


def log_metrics(metrics: FoldMetrics, task: TaskSettings) -> None:
    """One line per fold."""
    if isinstance(task, ClassTask) and math.isnan(metrics.auc):
        log.warning("fold %d: a class has no test slide, so the AUC is not defined", metrics.fold)
    figures = (f"{metric} {getattr(metrics, metric):.3f}" for metric in metrics_of(task.kind))
    log.info("fold %d: %s", metrics.fold, ", ".join(figures))
