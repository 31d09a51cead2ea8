"""Train and test a head on every fold of a task."""

import argparse
import logging
import math
from pathlib import Path

from slpd.artifacts.bags import read_bags
from slpd.artifacts.fold_metrics import FoldMetrics, write_fold_metrics
from slpd.artifacts.folds import read_folds
from slpd.artifacts.predictions import FoldPredictions, write_predictions
from slpd.evaluation.fold_bags import fold_bags
from slpd.evaluation.heads import predict
from slpd.evaluation.metrics import classification_metrics
from slpd.settings.evaluation import Task, head_from_json

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--bags", type=Path, required=True, help="bags of the cohort (HDF5)")
    parser.add_argument("--folds", type=Path, required=True, help="folds of the task (CSV)")
    parser.add_argument("--task", required=True, help="the task (JSON)")
    parser.add_argument("--head", required=True, help="the head (JSON)")
    parser.add_argument("--variant", required=True, help="name of the variant whose bags these are")
    parser.add_argument("--predictions", type=Path, required=True, help="predictions to write (CSV)")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics to write (CSV)")


def run(args: argparse.Namespace) -> None:
    """Read bags and folds, train and test on every fold, write."""
    task, head = Task.from_json(args.task), head_from_json(args.head)
    folds = read_folds(args.folds)
    data = fold_bags(read_bags(args.bags), folds, task.classes)
    probabilities = predict(head, data, len(task.classes))
    metrics = [
        FoldMetrics(task.name, args.variant, head.name, number, **classification_metrics(fold.test.classes, p))
        for number, (fold, p) in enumerate(zip(data, probabilities, strict=True))
    ]
    for fold_metrics in metrics:
        log_metrics(fold_metrics)
    predictions = [FoldPredictions(fold.test, p) for fold, p in zip(folds, probabilities, strict=True)]
    write_predictions(args.predictions, (task.name, args.variant, head.name), task.classes, predictions)
    write_fold_metrics(args.metrics, metrics)


def log_metrics(metrics: FoldMetrics) -> None:
    """One line per fold."""
    if math.isnan(metrics.auc):
        log.warning("fold %d: a class has no test slide, so the AUC is not defined", metrics.fold)
    log.info("fold %d: AUC %.3f, accuracy %.3f", metrics.fold, metrics.auc, metrics.accuracy)
