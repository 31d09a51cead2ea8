"""Train a variant: iterations of renewed prototypes and the epochs that use them; embed every region at the end."""

import argparse
import hashlib
import logging
from pathlib import Path

from slpd.artifacts.checkpoint import Identity, differences, read_checkpoint
from slpd.artifacts.cohort_tokens import CohortTokens, open_cohort_tokens
from slpd.artifacts.embeddings import CohortEmbeddings, read_embeddings
from slpd.artifacts.iterations import write_iterations
from slpd.errors import UserError
from slpd.method.processes import from_first, process_index
from slpd.settings.training import Objective, Prototypes, RegionEncoder, SlideGraph, Training
from slpd.stages.pretrain_dino import add_training_arguments, open_trainer, write_outputs
from slpd.training.devices import training_device
from slpd.training.identity import experiment_identity, result_version, section_identity
from slpd.training.loop import Trainer
from slpd.training.progress import Progress
from slpd.training.renewal import Renew, Renewal, renewing, targets_of
from slpd.training.resume import QueueSignals

logger = logging.getLogger(__name__)

RENEWAL = "training.epochs_per_iteration"  # variants may differ in it: the warm-up has no prototypes to renew


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `distill_slpd`."""
    add_training_arguments(parser)
    parser.add_argument("--objective", required=True, help="the variant's objective, as JSON")
    # `?`: the rule writes the options also where the variant's objective has no such term
    parser.add_argument("--prototypes", nargs="?", help="section prototypes as JSON, for intra or inter > 0")
    parser.add_argument("--slide-graph", nargs="?", help="section slide_graph as JSON, for inter > 0")
    parser.add_argument("--start", type=Path, required=True, help="checkpoint of pretrain_dino (.pt)")
    parser.add_argument("--start-embeddings", type=Path, required=True, help="its region embeddings (.h5)")
    parser.add_argument("--iterations", type=Path, required=True, help="history of assignments to write (.npz)")


def run(args: argparse.Namespace) -> None:
    """Train all iterations of a variant."""
    objective = Objective.from_json(args.objective)
    distill(args, objective, renewal_of(args, objective))


def renewal_of(args: argparse.Namespace, objective: Objective) -> Renew | None:
    """How prototypes are renewed; None: the objective has no prototype terms."""
    if not objective.intra and not objective.inter:
        return None
    for name, needed in (("prototypes", True), ("slide_graph", objective.inter)):
        if needed and getattr(args, name) is None:
            raise UserError(f"--{name.replace('_', '-')} is missing: the objective has such a term")
    graph = SlideGraph.from_json(args.slide_graph) if objective.inter else None
    return renewing(Prototypes.from_json(args.prototypes), graph)


def distill(args: argparse.Namespace, objective: Objective, renew: Renew | None) -> None:
    """Train from the checkpoint of `pretrain_dino` to the end of the schedule.

    Args:
        args: Inputs and outputs.
        objective: Terms of the loss.
        renew: Makes prototypes and slide graph of region embeddings; None: plain DINO.
    """
    encoder, training = RegionEncoder.from_json(args.encoder), Training.from_json(args.training)
    cohort, epochs = open_cohort_tokens(args.manifest), range(training.dino_epochs, training.epochs)
    base = experiment_identity(encoder, training, cohort)
    identity = base | variant_identity(args, objective) | {"epochs trained": epochs.stop}
    identity |= result_version("distill_slpd")
    with QueueSignals() as signals, training_device() as device:
        trainer = open_trainer(args, cohort, objective, epochs, identity, device, signals)
        progress = trainer.resume.load(trainer.learner)
        if progress is None:
            load_start(args.start, trainer, base | {"epochs trained": epochs.start})
            progress = Progress(epochs.start)
        trainer.monitor.start(progress)
        for first in epochs[:: training.epochs_per_iteration]:
            iteration = range(first, min(first + training.epochs_per_iteration, training.epochs))
            train_iteration(trainer, progress, iteration, objective, renew, args.start_embeddings)
        trainer.pause(progress)
        write_outputs(args, trainer, progress)
        if process_index() == 0:
            write_iterations(args.iterations, progress.iterations(cohort.offsets, cohort.slides))
            trainer.resume.remove()


def train_iteration(
    trainer: Trainer, progress: Progress, epochs: range, objective: Objective, renew: Renew | None, first: Path
) -> None:
    """Train the rest of an iteration; one that has not begun starts with renewed prototypes."""
    if progress.epoch >= epochs.stop:
        return
    if renew and progress.renewed_at < epochs.start:
        trainer.pause(progress)
        from_warmup = epochs.start == trainer.learner.training.dino_epochs
        progress.begin_iteration(renewed(trainer, renew, first if from_warmup else None))
        trainer.pause(progress)
    if progress.renewal:
        trainer.batches.prototypes = targets_of(progress.renewal, objective, trainer.learner.device)
    trainer.train(epochs, progress)


def renewed(trainer: Trainer, renew: Renew, start_embeddings: Path | None) -> Renewal:
    """Prototypes and slide graph of the teacher as it is; the first process makes them for all."""
    if start_embeddings is None:
        embeddings = trainer.embed()
    else:
        embeddings = read_own_embeddings(start_embeddings, trainer.cohort) if process_index() == 0 else None
    renewal = from_first(renew(embeddings) if embeddings else None)
    assert renewal is not None, "the first process has embeddings"
    return renewal


def read_own_embeddings(path: Path, cohort: CohortTokens) -> CohortEmbeddings:
    """The embeddings that `pretrain_dino` left; those of other slides or regions are refused."""
    embeddings = read_embeddings(path)
    if embeddings.slides != cohort.slides or embeddings.offsets.tolist() != cohort.offsets.tolist():
        raise UserError(f"{path}: embeddings of other slides or regions than the manifest's; run pretrain_dino again")
    return embeddings


def load_start(path: Path, trainer: Trainer, expected: Identity) -> None:
    """Start from a checkpoint; one of other settings, of another cohort or point in the schedule is refused."""
    start = read_checkpoint(path, trainer.learner.device)
    different = differences(start["identity"] | {RENEWAL: expected[RENEWAL]}, expected)
    if different:
        raise UserError(
            f"checkpoint {path} is of another experiment, different in {', '.join(different)};"
            " give the checkpoint of pretrain_dino with these settings, or run that stage again"
        )
    trainer.learner.load_state_dict(start["learner"])


def variant_identity(args: argparse.Namespace, objective: Objective) -> Identity:
    """What an iteration depends on beside the warm-up: settings, and the files it starts from."""
    identity: Identity = dict(section_identity("objective", objective))
    if args.prototypes:
        identity |= section_identity("prototypes", Prototypes.from_json(args.prototypes))
    if args.slide_graph:
        identity |= section_identity("slide_graph", SlideGraph.from_json(args.slide_graph))
    for name in ("start", "start_embeddings"):
        with open(getattr(args, name), "rb") as file:
            identity[f"--{name}"] = hashlib.file_digest(file, "sha256").hexdigest()
    return identity
