"""Train the region encoder with plain DINO up to the first prototypes, and embed every region."""

import argparse
from pathlib import Path

import numpy as np
import torch

from slpd.artifacts.checkpoint import Identity, write_checkpoint
from slpd.artifacts.cohort_tokens import CohortTokens, read_cohort_tokens
from slpd.artifacts.embeddings import CohortEmbeddings, write_embeddings
from slpd.artifacts.region_encoder import RegionEncoderCard, write_region_encoder
from slpd.artifacts.training_metrics import EpochMetrics, write_metrics
from slpd.method.processes import process_index
from slpd.settings.jobs import Jobs
from slpd.settings.training import PLAIN_DINO, RegionEncoder, Training
from slpd.training.batches import Batches
from slpd.training.devices import training_device
from slpd.training.embed import embed_regions
from slpd.training.identity import experiment_identity
from slpd.training.learner import Learner
from slpd.training.loop import train_epochs
from slpd.training.resume import ResumeFile
from slpd.versions import training_versions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `pretrain_dino`."""
    add_training_arguments(parser)


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs that both training stages have."""
    parser.add_argument("--manifest", type=Path, required=True, help="manifest of the cohort")
    parser.add_argument("--encoder", required=True, help="section region_encoder of the config, as JSON")
    parser.add_argument("--training", required=True, help="section training of the config, as JSON")
    parser.add_argument("--jobs", required=True, help="section jobs of the config, as JSON")
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint to write (.pt)")
    parser.add_argument("--teacher", type=Path, required=True, help="teacher's weights to write (.safetensors)")
    parser.add_argument("--embeddings", type=Path, required=True, help="region embeddings to write (.h5)")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics per epoch to write (.csv)")


def run(args: argparse.Namespace) -> None:
    """Train from random weights for `training.dino_epochs` epochs."""
    encoder, training = RegionEncoder.from_json(args.encoder), Training.from_json(args.training)
    cohort = read_cohort_tokens(args.manifest)
    identity = experiment_identity(encoder, training, cohort) | {"epochs trained": training.dino_epochs}
    with training_device() as device:
        tokens = torch.from_numpy(cohort.features).to(device)
        batches = Batches(tokens, encoder, training, prototypes=None)
        learner = Learner(encoder, training, PLAIN_DINO, tokens.shape[-1], device)
        resume = resume_file(args, identity, device)
        metrics = train_epochs(learner, batches, range(training.dino_epochs), resume, cohort)
        if process_index() == 0:
            write_outputs(args, learner, identity, cohort, tokens, encoder, metrics)
            resume.remove()


def resume_file(args: argparse.Namespace, identity: Identity, device: torch.device) -> ResumeFile:
    """The side file of a training stage, beside its checkpoint."""
    path = args.checkpoint.with_name(args.checkpoint.name + ".resume")
    return ResumeFile(path, identity, Jobs.from_json(args.jobs).checkpoint_minutes, device)


def write_outputs(
    args: argparse.Namespace,
    learner: Learner,
    identity: Identity,
    cohort: CohortTokens,
    tokens: torch.Tensor,
    encoder: RegionEncoder,
    metrics: list[EpochMetrics],
) -> None:
    """Write what both training stages leave behind; the teacher embeds every region from its centre crop."""
    embedded = embed_regions(learner.teacher.embed, tokens, learner.training.global_crop)
    region_vector, bottleneck = np.split(embedded, [encoder.width], axis=1)
    write_embeddings(args.embeddings, CohortEmbeddings(bottleneck, region_vector, cohort.offsets, cohort.slides))
    card = RegionEncoderCard(
        region_encoder=encoder, token_width=tokens.shape[-1], grid=tokens.shape[1], versions=training_versions()
    )
    weights = {name: tensor.cpu().numpy() for name, tensor in learner.teacher.backbone.state_dict().items()}
    write_region_encoder(args.teacher, weights, card)
    write_metrics(args.metrics, metrics)
    write_checkpoint(args.checkpoint, {"identity": identity, "learner": learner.state_dict()})
