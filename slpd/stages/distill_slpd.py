"""Train one iteration with the prototype terms, and embed every region."""

import argparse
import hashlib
from pathlib import Path

import torch

from slpd.artifacts.checkpoint import Identity, differences, read_checkpoint
from slpd.artifacts.cohort_tokens import CohortTokens, read_cohort_tokens
from slpd.artifacts.prototypes import CohortPrototypes, read_prototypes
from slpd.artifacts.slide_graph import SlideGraphArrays, read_slide_graph
from slpd.errors import UserError
from slpd.method.processes import process_index
from slpd.method.prototype_targets import inter_targets, intra_targets
from slpd.settings.training import Objective, RegionEncoder, Training
from slpd.stages.pretrain_dino import add_training_arguments, resume_file, write_outputs
from slpd.training.batches import Batches, PrototypeTargets
from slpd.training.devices import training_device
from slpd.training.identity import experiment_identity, section_identity
from slpd.training.learner import Learner
from slpd.training.loop import train_epochs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `distill_slpd`."""
    add_training_arguments(parser)
    parser.add_argument("--objective", required=True, help="the variant's objective, as JSON")
    parser.add_argument("--iteration", type=int, required=True, help="which iteration, from 1")
    parser.add_argument("--start", type=Path, required=True, help="checkpoint of the stage before (.pt)")
    # `?`: the rule writes the option also where the variant has no such input
    parser.add_argument("--prototypes", type=Path, nargs="?", help="prototypes (.npz), for intra or inter > 0")
    parser.add_argument("--graph", type=Path, nargs="?", help="slide graph (.npz), for inter > 0")


def run(args: argparse.Namespace) -> None:
    """Train `training.epochs_per_iteration` epochs onwards from the start checkpoint."""
    encoder, training = RegionEncoder.from_json(args.encoder), Training.from_json(args.training)
    objective = Objective.from_json(args.objective)
    cohort = read_cohort_tokens(args.manifest)
    epochs = iteration_epochs(training, args.iteration)
    base = experiment_identity(encoder, training, cohort)
    own = base | section_identity("objective", objective)
    identity = own | {"epochs trained": epochs.stop}
    with training_device() as device:
        start = read_checkpoint(args.start, device)
        expected = (base if args.iteration == 1 else own) | {"epochs trained": epochs.start}
        refuse_other_experiment(args.start, start["identity"], expected)
        tokens = torch.from_numpy(cohort.features).to(device)
        batches = Batches(tokens, encoder, training, read_targets(args, encoder, objective, cohort, device))
        learner = Learner(encoder, training, objective, tokens.shape[-1], device)
        learner.load_state_dict(start["learner"])
        resume = resume_file(args, identity | input_hashes(args), device)
        metrics = train_epochs(learner, batches, epochs, resume, cohort)
        if process_index() == 0:
            write_outputs(args, learner, identity, cohort, tokens, encoder, metrics)
            resume.remove()


def iteration_epochs(training: Training, iteration: int) -> range:
    """The epochs of an iteration, counted from 0 over all stages."""
    if not 1 <= iteration <= training.n_iterations:
        raise UserError(f"--iteration {iteration}: training has iterations 1 to {training.n_iterations}")
    first = training.dino_epochs + (iteration - 1) * training.epochs_per_iteration
    return range(first, first + training.epochs_per_iteration)


def refuse_other_experiment(path: Path, saved: Identity, expected: Identity) -> None:
    """Refuse a start checkpoint of other settings, of another cohort, or of another point in the schedule."""
    different = differences(saved, expected)
    if different:
        raise UserError(
            f"checkpoint {path} is of another experiment, different in {', '.join(different)};"
            " give the checkpoint of the stage before, or run that stage again with these settings"
        )


def read_targets(
    args: argparse.Namespace, encoder: RegionEncoder, objective: Objective, cohort: CohortTokens, device: torch.device
) -> PrototypeTargets | None:
    """The prototypes that the objective's terms need; None for plain DINO."""
    if not objective.intra and not objective.inter:
        return None
    if args.prototypes is None:
        raise UserError("--prototypes is missing: objective.intra or objective.inter is above 0")
    content = read_prototypes(args.prototypes)
    refuse_other_cohort(args.prototypes, content, cohort)
    refuse_other_encoder(args.prototypes, content, encoder)
    return PrototypeTargets(
        torch.from_numpy(content.prototypes).flatten(0, 1).to(device),
        content.features,
        intra_targets(content) if objective.intra else None,
        inter_targets(content, read_graph(args, content)) if objective.inter else None,
    )


def read_graph(args: argparse.Namespace, content: CohortPrototypes) -> SlideGraphArrays:
    """The slide graph that belongs to the prototypes."""
    if args.graph is None:
        raise UserError("--graph is missing: objective.inter is above 0")
    graph = read_slide_graph(args.graph)
    if graph.slides != content.slides or graph.correspondence.shape[2] != content.prototypes.shape[1]:
        raise UserError(f"{args.graph}: not the graph of {args.prototypes}; run link_slides on these prototypes")
    return graph


def refuse_other_cohort(path: Path, content: CohortPrototypes, cohort: CohortTokens) -> None:
    """Refuse prototypes of other slides or regions than the manifest's."""
    if content.slides != cohort.slides or content.offsets.tolist() != cohort.offsets.tolist():
        raise UserError(f"{path}: prototypes of other slides or regions than the manifest; run cluster_regions again")


def refuse_other_encoder(path: Path, content: CohortPrototypes, encoder: RegionEncoder) -> None:
    """Refuse prototypes of another width than what they are means of has."""
    width = encoder.bottleneck if content.features == "bottleneck" else encoder.width
    if content.prototypes.shape[2] != width:
        raise UserError(
            f"{path}: prototypes of width {content.prototypes.shape[2]}, but a {content.features} of region_encoder has"
            f" {width} values; run cluster_regions again"
        )


def input_hashes(args: argparse.Namespace) -> Identity:
    """SHA-256 of the files an iteration starts from: unfinished work on others is not resumed."""
    hashes: Identity = {}
    for name in ("start", "prototypes", "graph"):
        path = getattr(args, name)
        if path is not None:
            with open(path, "rb") as file:
                hashes[f"--{name}"] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
