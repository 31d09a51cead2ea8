"""The training loop of `pretrain_dino` and `distill_slpd`."""

import logging
import signal
import time
from datetime import timedelta

import torch

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
    training = learner.training
    schedules = make_schedules(training, batches.per_epoch)
    progress = resume.load(learner) or Progress(epochs.start)
    with StopRequest() as stop:
        for epoch in range(progress.epoch, epochs.stop):
            started, done_before = time.monotonic(), len(progress.steps)
            for step in range(done_before, batches.per_epoch):
                rates = schedules.at(epoch * batches.per_epoch + step)
                batch = batches.batch(epoch, step)
                progress.steps.append(learner.step(batch, rates, epoch < training.freeze_last_layer_epochs))
                stopping = stop.agreed()
                if stopping or resume.due() or len(progress.steps) % CHECK_STEPS == 0:
                    check_losses(progress, batches, cohort)
                if stopping or resume.due():
                    resume.save(learner, progress)
                if stopping:
                    logger.warning(
                        "stopped by SIGTERM at epoch %d, step %d; the next start resumes", epoch + 1, step + 1
                    )
                    raise SystemExit(128 + signal.SIGTERM)
            check_losses(progress, batches, cohort)
            metrics = epoch_metrics(progress, schedules, batches.per_epoch)
            progress = Progress(epoch + 1, [], [*progress.finished, metrics])
            n_steps, seconds = batches.per_epoch - done_before, time.monotonic() - started
            log_epoch(metrics, training.epochs, n_steps * training.batch_size / max(seconds, 1e-9), epochs, batches)
    return progress.finished


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


def epoch_metrics(progress: Progress, schedules: Schedules, steps_per_epoch: int) -> EpochMetrics:
    """Means over an epoch's steps, and the rates of its last step."""
    last = schedules.at((progress.epoch + 1) * steps_per_epoch - 1)
    means = torch.stack(progress.steps).double().mean(dim=0).tolist()
    return EpochMetrics(progress.epoch + 1, *means, **last._asdict())


def log_epoch(metrics: EpochMetrics, n_epochs: int, speed: float, epochs: range, batches: Batches) -> None:
    """One line: losses, regions per second, time until this stage is done."""
    if process_index() > 0:
        return
    left = (epochs.stop - metrics.epoch) * batches.per_epoch * batches.training.batch_size / speed
    logger.info(
        "epoch %d of %d: loss %.4f (self %.4f, intra %.4f, inter %.4f), %.0f regions/s, %s left in this stage",
        metrics.epoch,
        n_epochs,
        metrics.loss,
        metrics.self_distillation,
        metrics.intra,
        metrics.inter,
        speed,
        timedelta(seconds=round(left)),
    )
