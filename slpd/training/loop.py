"""The training loop of `pretrain_dino` and `distill_slpd`."""

import logging
import signal
import time
from datetime import timedelta

import torch
from torch import Tensor

from slpd.artifacts.cohort_tokens import CohortTokens
from slpd.artifacts.training_metrics import EpochMetrics
from slpd.errors import UserError
from slpd.method.processes import process_index
from slpd.method.schedules import Schedules, make_schedules
from slpd.training.batches import Batches
from slpd.training.learner import Learner
from slpd.training.resume import Progress, ResumeFile, StopRequest

CHECK_STEPS = 50  # steps between two looks at the loss, each of which waits for the GPU

logger = logging.getLogger(__name__)


def train_epochs(
    learner: Learner, batches: Batches, epochs: range, resume: ResumeFile, cohort: CohortTokens
) -> list[EpochMetrics]:
    """Train for some epochs of the schedule, from where the resume file is if there is one.

    Args:
        learner: As it is before the first of `epochs`; changed in place.
        batches: The cohort's batches.
        epochs: Which epochs, counted from 0 over all stages.
        resume: Side file for the case of being killed.
        cohort: For naming slides in messages.

    Raises:
        UserError: the loss is not finite.
        SystemExit: SIGTERM was received; the state is saved.
    """
    schedules = make_schedules(learner.training, batches.per_epoch)
    progress = resume.load(learner) or Progress(epochs.start)
    with StopRequest() as stop:
        started, first_step = time.monotonic(), len(progress.steps)
        while progress.epoch < epochs.stop:
            progress.steps.append(take_step(learner, batches, schedules, progress))
            stopping = stop.agreed()
            saving = stopping or resume.due()
            ended = len(progress.steps) == batches.per_epoch
            if ended or saving or len(progress.steps) % CHECK_STEPS == 0:
                check_losses(progress, batches, cohort)
            if ended:
                progress = next_epoch(progress, schedules, batches.per_epoch)
                n_regions = (batches.per_epoch - first_step) * learner.training.batch_size
                log_epoch(progress, epochs, n_regions / (time.monotonic() - started), batches)
                started, first_step = time.monotonic(), 0
            if saving:
                resume.save(learner, progress)
            if stopping:
                logger.warning("stopped by SIGTERM in epoch %d; the next start resumes there", progress.epoch + 1)
                raise SystemExit(128 + signal.SIGTERM)
    return progress.finished


def take_step(learner: Learner, batches: Batches, schedules: Schedules, progress: Progress) -> Tensor:
    """The next step of the running epoch; what Learner.step gives."""
    epoch, step = progress.epoch, len(progress.steps)
    rates = schedules.at(epoch * batches.per_epoch + step)
    freeze_last_layer = epoch < learner.training.freeze_last_layer_epochs
    return learner.step(batches.batch(epoch, step), rates, freeze_last_layer)


def check_losses(progress: Progress, batches: Batches, cohort: CohortTokens) -> None:
    """Stop at a loss that is not finite, naming its batch."""
    finite = torch.stack(progress.steps).isfinite().all(dim=1).tolist()
    if not all(finite):
        step = finite.index(False)
        regions = cohort.describe_regions(batches.regions_of(progress.epoch, step))
        raise UserError(
            f"loss is not finite at epoch {progress.epoch + 1}, step {step + 1}; look for values that are not finite in"
            f" the tokens of its regions, or lower training.learning_rate; regions (slide: numbers): {regions}"
        )


def next_epoch(progress: Progress, schedules: Schedules, steps_per_epoch: int) -> Progress:
    """The start of the next epoch, with the metrics of this one: means over its steps, rates of its last."""
    last = schedules.at((progress.epoch + 1) * steps_per_epoch - 1)
    means = torch.stack(progress.steps).double().mean(dim=0).tolist()
    metrics = EpochMetrics(progress.epoch + 1, *means, **last._asdict())
    return Progress(progress.epoch + 1, [], [*progress.finished, metrics])


def log_epoch(progress: Progress, epochs: range, speed: float, batches: Batches) -> None:
    """One line on the epoch that has just ended: losses, regions per second, time until this stage is done."""
    if process_index() > 0:
        return
    metrics, training = progress.finished[-1], batches.training
    left = (epochs.stop - metrics.epoch) * batches.per_epoch * training.batch_size / speed
    logger.info(
        "epoch %d of %d: loss %.4f (self %.4f, intra %.4f, inter %.4f), %.0f regions/s, %s left in this stage",
        metrics.epoch,
        training.epochs,
        metrics.loss,
        metrics.self_distillation,
        metrics.intra,
        metrics.inter,
        speed,
        timedelta(seconds=round(left)),
    )
