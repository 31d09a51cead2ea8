"""Lay out the results of a variant's training: the trained encoder, and the history of all iterations."""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.learned.embeddings import open_embeddings
from slpd.artifacts.learned.iteration_history import Iterations, write_iterations
from slpd.artifacts.learned.training_folder import TrainingFolder, hand_out
from slpd.errors import UserError
from slpd.settings.training import Objective


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `collect_iterations`."""
    parser.add_argument("--folder", type=Path, required=True, help="training's own folder")
    parser.add_argument("--last-embeddings", type=Path, required=True, help="embeddings after the last iteration (.h5)")
    parser.add_argument("--n-iterations", type=int, required=True, help="iterations of the schedule")
    parser.add_argument("--objective", required=True, help="the variant's objective, as JSON")
    parser.add_argument("--teacher", type=Path, required=True, help="teacher's weights to write (.safetensors)")
    parser.add_argument("--embeddings", type=Path, required=True, help="region embeddings to write (.h5)")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics per epoch to write (.csv)")
    parser.add_argument("--iterations", type=Path, required=True, help="history of assignments to write (.npz)")


def run(args: argparse.Namespace) -> None:
    """Hand out the last encoder, and put the assignments and neighbours of all iterations into one file."""
    folder, last, objective = TrainingFolder(args.folder), args.n_iterations, Objective.from_json(args.objective)
    if not folder.has_encoder(last):
        raise UserError(
            f"{folder.teacher(last)}: the encoder is gone or damaged; start again: distill_slpd makes it again"
        )
    n_targets = last if objective.needs_prototypes else 0
    hand_out(args.last_embeddings, args.embeddings)  # first, because it is one file with the input and renews its time
    with open_embeddings(args.last_embeddings) as embeddings:
        slides, offsets = embeddings.slides, embeddings.offsets
    write_iterations(args.iterations, history(folder, n_targets, objective.needs_graph, slides, offsets))
    hand_out(folder.teacher(last), args.teacher)
    hand_out(folder.metrics(last), args.metrics)


def history(folder: TrainingFolder, n: int, linked: bool, slides: list[str], offsets: NDArray[np.int64]) -> Iterations:
    """What n iterations trained towards; `linked`: to a slide graph, too."""
    assignments = np.empty((n, int(offsets[-1])), np.int16)
    neighbours = [np.empty((len(slides), 0), np.int32)] * n  # without a graph, nobody
    for iteration in range(n):
        prototypes, graph = folder.read_targets(iteration, linked)
        assignments[iteration] = prototypes.assignments
        if graph is not None:
            neighbours[iteration] = graph.neighbours
    stacked = np.stack(neighbours) if n else np.empty((0, len(slides), 0), np.int32)
    return Iterations(assignments, stacked, offsets, slides)
