"""Train the region encoder with plain DINO up to the first prototypes, and embed every region."""

import argparse
from pathlib import Path

from slpd.artifacts.learned.checkpoint import write_checkpoint
from slpd.artifacts.learned.embeddings import write_embeddings
from slpd.artifacts.learned.training_metrics import write_metrics
from slpd.artifacts.patch_tokens.cohort_tokens import refuse_damaged
from slpd.method.processes import n_processes, process_index
from slpd.settings.training import PLAIN_DINO
from slpd.training.devices import training_device
from slpd.training.identity import experiment_identity, result_version
from slpd.training.job import TrainingJob, add_job_arguments, open_trainer, write_teacher
from slpd.training.progress import Progress
from slpd.training.resume import QueueSignals, ResumeFile


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `pretrain_dino`."""
    add_job_arguments(parser)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint to write (.pt)")
    parser.add_argument("--teacher", type=Path, required=True, help="teacher's weights to write (.safetensors)")
    parser.add_argument("--embeddings", type=Path, required=True, help="region embeddings to write (.h5)")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics per epoch to write (.csv)")


def run(args: argparse.Namespace) -> None:
    """Train from random weights for `training.dino_epochs` epochs."""
    job = TrainingJob.of(args)
    epochs = range(job.training.dino_epochs)
    identity = experiment_identity(job.encoder, job.training, job.cohort) | {"epochs trained": epochs.stop}
    unfinished = identity | result_version("pretrain_dino")
    resume = ResumeFile(args.teacher.with_name(f"{args.teacher.name}.resume"), unfinished, job.jobs.checkpoint_minutes)
    with QueueSignals() as signals, training_device() as device:
        found = resume.find()
        if not found:  # once in a training; it takes a hundredth of its time
            refuse_damaged(job.cohort, slice(process_index(), None, n_processes()))
        trainer = open_trainer(job, PLAIN_DINO, epochs, resume, device, signals)
        progress = resume.load(trainer.learner) if found else Progress(epochs.start)
        trainer.monitor.start(progress)
        trainer.train(epochs, progress)
        trainer.pause(progress)
        trainer.monitor.close()
        embeddings = trainer.embed()
        if process_index() == 0 and embeddings:
            write_embeddings(args.embeddings, embeddings)
            write_teacher(args.teacher, trainer)
            write_metrics(args.metrics, progress.finished)
            write_checkpoint(args.checkpoint, {"identity": identity, "learner": trainer.learner.state_dict()})
            resume.remove()
