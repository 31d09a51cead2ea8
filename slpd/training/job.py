"""A training job: its arguments, read once, and the trainer made from them."""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens, open_cohort_tokens
from slpd.models.encoder_files import write_encoder
from slpd.settings.jobs import Jobs
from slpd.settings.training import Objective, RegionEncoder, Training
from slpd.training.attention import choose_attention
from slpd.training.batches import Batches, check_recipe, own_regions, process_part
from slpd.training.learner import Learner
from slpd.training.loop import Trainer
from slpd.training.memory import regions_at_once, reserve_bytes
from slpd.training.monitor import Monitor
from slpd.training.precision import Precision
from slpd.training.resume import QueueSignals, ResumeFile
from slpd.training.token_store import open_token_store

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingJob:
    """The arguments that both training stages have."""

    cohort: CohortTokens
    encoder: RegionEncoder
    training: Training
    jobs: Jobs
    live: Path  # folder for progress metrics

    @classmethod
    def of(cls, args: argparse.Namespace) -> "TrainingJob":
        """Read the arguments of `add_job_arguments`.

        Raises:
            UserError: a section or a token file is at fault, named.
        """
        return cls(
            open_cohort_tokens(args.manifest),
            RegionEncoder.from_json(args.encoder),
            Training.from_json(args.training),
            Jobs.from_json(args.jobs),
            args.live,
        )


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs that both training stages have."""
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the cohort")
    parser.add_argument("--encoder", required=True, help="section region_encoder of the config, as JSON")
    parser.add_argument("--training", required=True, help="section training of the config, as JSON")
    parser.add_argument("--jobs", required=True, help="section jobs of the config, as JSON")
    parser.add_argument("--live", type=Path, required=True, help="folder for metrics.jsonl and TensorBoard's events")


def open_trainer(
    job: TrainingJob,
    objective: Objective,
    epochs: range,
    resume: ResumeFile,
    device: torch.device,
    signals: QueueSignals,
) -> Trainer:
    """What a job trains with: a fresh learner, and tokens and activations where they fit.

    Args:
        job: Its arguments.
        objective: Terms of the loss.
        epochs: Epochs of the job, counted from 0 over all stages.
        resume: Where it saves itself.
        device: Of this process.
        signals: Of the queue.
    """
    encoder, training, cohort = job.encoder, job.training, job.cohort
    check_recipe(training, cohort.n_regions, cohort.grid)
    own, part = own_regions(training, cohort.n_regions), process_part(training.batch_size)
    tokens = open_token_store(cohort, own, device, job.jobs.tokens, reserve_bytes(encoder, training))
    at_once = regions_at_once(encoder, training, device, part.stop - part.start, job.jobs.regions_at_once)
    learner = Learner(encoder, training, objective, cohort.width, Precision.of(device), at_once)
    masked = cohort.present is not None
    if not masked:
        choose_attention(job.jobs.attention, learner.view_sizes(), encoder, learner.precision)
    elif job.jobs.attention != "auto":  # neither flash nor ours take a mask
        logger.warning("jobs.attention %s is left out: patches are absent, and torch chooses", job.jobs.attention)
    learner.compile(masked=masked)
    batches = Batches(tokens, cohort.n_regions, encoder, training, cohort.grid, cohort.present)
    monitor = Monitor(job.live, epochs, batches.per_epoch, training)
    return Trainer(learner, batches, cohort, resume, monitor, signals)


def write_teacher(path: Path, trainer: Trainer) -> None:
    """Write the teacher's region encoder as it is."""
    write_encoder(path, trainer.learner.teacher.backbone, trainer.batches.encoder, trainer.cohort)
