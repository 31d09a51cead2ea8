"""Training heads on the folds of a task, which processes share out among themselves.

A fold's result depends on the seed, the fold's number and its slides, not on how many processes there are or which of
them trains it. All of it runs on the CPU: the networks are small, and results do not depend on a GPU. Processes, not
threads: what a fold draws from torch's generator is then its own, and Python's lock holds nobody up.
"""

import logging
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from slpd.errors import EvaluationError
from slpd.evaluation.cases import EvaluationData
from slpd.evaluation.head_output import HeadOutput
from slpd.settings.heads import HeadPreset, TrainedHead
from slpd.workers import end_with_parent

log = logging.getLogger(__name__)

WORKERS = 2  # processes that train; the threads of rule evaluate
FORK_SERVER = multiprocessing.get_context("forkserver")
FORK_SERVER.set_forkserver_preload(["slpd.evaluation.fold_training"])  # imports torch, 2 s, once for all workers


@dataclass(frozen=True)
class TrainedFold:
    """What became of a fold."""

    number: int
    kept_epoch: int  # from 0
    output: HeadOutput


def predict_trained(head: TrainedHead, preset: HeadPreset, data: EvaluationData) -> list[HeadOutput]:
    """Train the head on every fold; what it says of the fold's test cases.

    Raises:
        EvaluationError: the training of a fold diverged.
    """
    numbers = range(len(data.folds))
    shares = [numbers[first::WORKERS] for first in range(min(WORKERS, len(numbers)))]
    with ProcessPoolExecutor(len(shares), FORK_SERVER, begin_worker) as pool:
        trained = list(chain.from_iterable(pool.map(partial(train_folds, head, preset, data), shares)))
    trained.sort(key=lambda fold: fold.number)
    for fold in trained:
        kept = fold.kept_epoch + 1
        log.info("head %s, fold %d: kept epoch %d of %d", head.name, fold.number, kept, preset.epochs)
        refuse_diverged(head, preset, fold)
    return [fold.output for fold in trained]


def refuse_diverged(head: TrainedHead, preset: HeadPreset, fold: TrainedFold) -> None:
    """Refuse what a fold says if it is not a number."""
    if not np.isfinite(fold.output.outputs).all():
        raise EvaluationError(
            f"head {head.name}, fold {fold.number}: training diverged, predictions are not finite; lower"
            f" learning_rate of its preset (it is {preset.learning_rate:g}), or set standardise: true"
        )


def begin_worker() -> None:
    """Compute in one thread, and end with the process that started this one, however that ends.

    Operations are too small to share: on a busy machine, threads that wait for each other are several times slower.
    """
    import torch  # noqa: PLC0415  the process that starts workers does without

    torch.set_num_threads(1)
    end_with_parent()


def train_folds(
    head: TrainedHead, preset: HeadPreset, data: EvaluationData, numbers: Sequence[int]
) -> list[TrainedFold]:
    """Train the head on some folds, one after the other."""
    from slpd.evaluation.fold_training import FoldTraining  # noqa: PLC0415  torch

    trained = []
    for number in numbers:
        training = FoldTraining(head, preset, data, number)
        trained.append(TrainedFold(number, training.fit(), training.test()))
    return trained
