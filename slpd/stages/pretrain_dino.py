"""Train the region encoder with plain DINO up to the first prototypes, and embed every region."""

import argparse
from pathlib import Path

import torch

from slpd.artifacts.checkpoint import Identity, write_checkpoint
from slpd.artifacts.cohort_tokens import CohortTokens, open_cohort_tokens
from slpd.artifacts.embeddings import write_embeddings
from slpd.artifacts.region_encoder import RegionEncoderCard, write_region_encoder
from slpd.artifacts.training_metrics import write_metrics
from slpd.method.processes import process_index
from slpd.settings.jobs import Jobs
from slpd.settings.training import PLAIN_DINO, Objective, RegionEncoder, Training
from slpd.training.batches import Batches, check_recipe, own_regions, process_part
from slpd.training.devices import training_device
from slpd.training.identity import experiment_identity, result_version
from slpd.training.learner import Learner
from slpd.training.loop import Trainer
from slpd.training.memory import regions_at_once, reserve_bytes
from slpd.training.monitor import Monitor
from slpd.training.precision import Precision
from slpd.training.progress import Progress
from slpd.training.resume import QueueSignals, ResumeFile
from slpd.training.token_store import open_token_store
from slpd.versions import training_versions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `pretrain_dino`."""
    add_training_arguments(parser)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint to write (.pt)")


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs that both training stages have."""
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the cohort")
    parser.add_argument("--encoder", required=True, help="section region_encoder of the config, as JSON")
    parser.add_argument("--training", required=True, help="section training of the config, as JSON")
    parser.add_argument("--jobs", required=True, help="section jobs of the config, as JSON")
    parser.add_argument("--teacher", type=Path, required=True, help="teacher's weights to write (.safetensors)")
    parser.add_argument("--embeddings", type=Path, required=True, help="region embeddings to write (.h5)")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics per epoch to write (.csv)")
    parser.add_argument("--live", type=Path, required=True, help="folder for metrics.jsonl and TensorBoard's events")


def run(args: argparse.Namespace) -> None:
    """Train from random weights for `training.dino_epochs` epochs."""
    encoder, training = RegionEncoder.from_json(args.encoder), Training.from_json(args.training)
    cohort, epochs = open_cohort_tokens(args.manifest), range(training.dino_epochs)
    identity = experiment_identity(encoder, training, cohort) | {"epochs trained": epochs.stop}
    unfinished = identity | result_version("pretrain_dino")
    with QueueSignals() as signals, training_device() as device:
        trainer = open_trainer(args, cohort, PLAIN_DINO, epochs, unfinished, device, signals)
        progress = trainer.resume.load(trainer.learner) or Progress(epochs.start)
        trainer.monitor.start(progress)
        trainer.train(epochs, progress)
        trainer.pause(progress)
        write_outputs(args, trainer, progress)
        if process_index() == 0:
            write_checkpoint(args.checkpoint, {"identity": identity, "learner": trainer.learner.state_dict()})
            trainer.resume.remove()


def open_trainer(
    args: argparse.Namespace,
    cohort: CohortTokens,
    objective: Objective,
    epochs: range,
    identity: Identity,
    device: torch.device,
    signals: QueueSignals,
) -> Trainer:
    """What a training stage works with: a fresh learner, and tokens and activations where they fit."""
    encoder, training = RegionEncoder.from_json(args.encoder), Training.from_json(args.training)
    jobs = Jobs.from_json(args.jobs)
    check_recipe(training, cohort.n_regions, cohort.grid)
    part = process_part(training.batch_size)
    share = part.stop - part.start
    learner = Learner(encoder, training, objective, cohort.width, Precision.of(device), share)
    own = own_regions(training, cohort.n_regions)
    tokens = open_token_store(cohort, own, device, jobs.tokens, reserve_bytes(encoder, training))
    learner.regions_at_once = regions_at_once(encoder, training, device, share, jobs.regions_at_once)
    learner.compile()
    batches = Batches(tokens, cohort.n_regions, encoder, training, cohort.grid)
    resume = ResumeFile(args.teacher.with_name(f"{args.teacher.name}.resume"), identity, jobs.checkpoint_minutes)
    monitor = Monitor(args.live, epochs, batches.per_epoch, training)
    return Trainer(learner, batches, cohort, resume, monitor, signals)


def write_outputs(args: argparse.Namespace, trainer: Trainer, progress: Progress) -> None:
    """Write what both training stages leave behind; all processes embed, the first writes."""
    trainer.monitor.close()
    embeddings = trainer.embed()
    if embeddings is None:
        return
    write_embeddings(args.embeddings, embeddings)
    cohort, teacher = trainer.cohort, trainer.learner.teacher
    card = RegionEncoderCard(
        region_encoder=trainer.batches.encoder,
        token_width=cohort.width,
        grid=cohort.grid,
        versions=training_versions(),
    )
    weights = {name: tensor.cpu().numpy() for name, tensor in teacher.backbone.state_dict().items()}
    write_region_encoder(args.teacher, weights, card)
    write_metrics(args.metrics, progress.finished)
