"""Train iterations of a variant: each renews prototypes and slide graph, then distils towards them.

A job trains a block of iterations and ends with the embeddings of every region, of which `cluster_regions` makes the
prototypes that the next block begins with. training_folder.py describes what training keeps for itself.
"""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

from slpd.artifacts.learned.checkpoint import Identity, differences, read_checkpoint
from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes, read_prototypes
from slpd.artifacts.learned.embeddings import write_embeddings, write_passed_embeddings
from slpd.artifacts.learned.slide_graph_file import read_slide_graph
from slpd.artifacts.learned.training_folder import TrainingFolder, hand_out
from slpd.artifacts.learned.training_metrics import write_metrics
from slpd.artifacts.patch_tokens.cohort_tokens import CohortTokens
from slpd.artifacts.runs.run_manifest import sha256_of
from slpd.errors import UserError
from slpd.method.processes import from_first, process_index
from slpd.settings.training import Objective, Prototypes, SlideGraph
from slpd.training.devices import training_device
from slpd.training.identity import experiment_identity, result_version, section_identity
from slpd.training.iterations import Given, IterationLoop
from slpd.training.job import TrainingJob, add_job_arguments, open_trainer, write_teacher
from slpd.training.loop import Trainer
from slpd.training.progress import Progress
from slpd.training.renewal import Renew, Renewal, renewing
from slpd.training.resume import QueueSignals, ResumeFile

logger = logging.getLogger(__name__)

RENEWAL = "training.epochs_per_iteration"  # variants may differ in it: the warm-up has no prototypes to renew


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Inputs and outputs of `distill_slpd`."""
    add_job_arguments(parser)
    parser.add_argument("--objective", required=True, help="the variant's objective, as JSON")
    # `?`: the rule writes the options also where the variant's objective has no such term
    parser.add_argument("--prototypes", nargs="?", help="section prototypes as JSON, where a term needs them")
    parser.add_argument("--slide-graph", nargs="?", help="section slide_graph as JSON, where a term needs it")
    parser.add_argument("--start", type=Path, required=True, help="checkpoint of pretrain_dino (.pt)")
    parser.add_argument("--first", type=int, default=0, help="iterations that are over when the job begins")
    parser.add_argument("--until", type=int, help="iterations that are over when it ends; all by default")
    parser.add_argument(
        "--first-prototypes", type=Path, nargs="?", help="prototypes that the job begins with (.npz); made where absent"
    )
    parser.add_argument("--first-graph", type=Path, nargs="?", help="slide graph that the job begins with (.npz)")
    parser.add_argument("--folder", type=Path, required=True, help="folder that training keeps for itself")
    parser.add_argument("--iterations", type=Path, required=True, help="folder for prototypes and graph of iterations")
    parser.add_argument("--out", type=Path, required=True, help="region embeddings at the end to write (.h5)")


@dataclass(frozen=True)
class VariantRecipe:
    """The arguments about the variant, besides those that both training stages have."""

    objective: Objective
    prototypes: Prototypes | None  # None: no term of the objective needs them
    slide_graph: SlideGraph | None  # None: no term needs one

    @classmethod
    def of(cls, args: argparse.Namespace) -> "VariantRecipe":
        """Read the arguments.

        Raises:
            UserError: a section is at fault or missing, named.
        """
        objective = Objective.from_json(args.objective)
        for name, needed in (("prototypes", objective.needs_prototypes), ("slide_graph", objective.needs_graph)):
            if needed and getattr(args, name) is None:
                raise UserError(f"--{name.replace('_', '-')} is missing: the objective has such a term")
        return cls(
            objective,
            Prototypes.from_json(args.prototypes) if objective.needs_prototypes else None,
            SlideGraph.from_json(args.slide_graph) if objective.needs_graph else None,
        )

    def renew(self) -> Renew | None:
        """How prototypes and slide graph are made; None: the variant has none."""
        return renewing(self.prototypes, self.slide_graph) if self.prototypes else None

    def identity(self) -> Identity:
        """What a training depends on besides the warm-up: settings, and how prototypes and graph are made."""
        identity = section_identity("objective", self.objective) | result_version("distill_slpd")
        if self.prototypes:
            identity |= section_identity("prototypes", self.prototypes) | result_version("cluster_regions")
        if self.slide_graph:
            identity |= section_identity("slide_graph", self.slide_graph) | result_version("link_slides")
        return identity


def run(args: argparse.Namespace) -> None:
    """Train the iterations of a job."""
    variant = VariantRecipe.of(args)
    distill(args, variant, variant.renew())


def distill(args: argparse.Namespace, variant: VariantRecipe, renew: Renew | None) -> None:
    """Resume training, at first from the checkpoint of `pretrain_dino`, until `--until` iterations are over.

    Args:
        args: Inputs and outputs.
        variant: What is trained.
        renew: Makes prototypes and slide graph of region embeddings; None: plain DINO.
    """
    job = TrainingJob.of(args)
    warm_up = experiment_identity(job.encoder, job.training, job.cohort)
    identity = warm_up | variant.identity() | {"--start": sha256_of(args.start)}
    folder = TrainingFolder(args.folder)
    resume = ResumeFile(folder.state, identity, job.jobs.checkpoint_minutes)
    until = last_iteration(args, job)
    with QueueSignals() as signals, training_device() as device:
        other = folder.state.exists()  # of another training, if it is not this one's
        progress = resume.find()
        if progress is None and not other and process_index() == 0:
            folder.drop_encoders()  # now: while tokens are loaded, a twin of this job may keep one
        if progress is None or not from_first(is_over(progress, job, folder, until)):
            epochs = range(job.training.dino_epochs, end_of(job, until))
            trainer = open_trainer(job, variant.objective, epochs, resume, device, signals)
            given = from_first(read_given(args, variant, job.cohort) if process_index() == 0 else None)
            if progress is None:
                load_start(args.start, trainer, warm_up | {"epochs trained": epochs.start})
                begins = args.first == 0
                if other and process_index() == 0:
                    folder.make_way(args.iterations, spared=0 if given and begins else None)
                progress = Progress(epochs.start)
            else:
                progress = resume.load(trainer.learner)
                begins = progress.epoch == job.training.epochs_of(args.first).start
            trainer.monitor.start(progress)
            # Elsewhere they may be of another training, which Snakemake does not know of.
            loop = IterationLoop(trainer, variant.objective, renew, folder, args.iterations, given if begins else None)
            loop.train(progress, until)
            keep_encoder(trainer, progress, folder, until)
        if process_index() == 0:
            hand_out_embeddings(progress, job, folder, until, args.out)


def last_iteration(args: argparse.Namespace, job: TrainingJob) -> int:
    """How many iterations are over when the job ends.

    Raises:
        UserError: the schedule has no such iterations.
    """
    n, until = job.training.n_iterations, job.training.n_iterations if args.until is None else args.until
    if not 0 <= args.first < until <= n:
        raise UserError(f"--first is {args.first}, --until {until}; needed: 0 <= first < until <= {n} iterations")
    return until


def end_of(job: TrainingJob, until: int) -> int:
    """The epoch at which so many iterations are over."""
    return job.training.epochs_of(until - 1).stop


def is_over(progress: Progress, job: TrainingJob, folder: TrainingFolder, until: int) -> bool:
    """Whether training has passed the end of the job, or has just reached it and kept the encoder."""
    return has_passed(progress, job, until) or (progress.epoch == end_of(job, until) and folder.has_encoder(until))


def has_passed(progress: Progress, job: TrainingJob, until: int) -> bool:
    """Whether training has continued after so many iterations."""
    end = end_of(job, until)
    return progress.epoch > end or (progress.epoch == end and (progress.renewed_at == end or bool(progress.steps)))


def keep_encoder(trainer: Trainer, progress: Progress, folder: TrainingFolder, until: int) -> None:
    """Keep the encoder after so many iterations, and the state to resume from; all processes embed."""
    trainer.pause(progress)
    trainer.monitor.close()
    embeddings = trainer.embed()
    if process_index() == 0 and embeddings:
        write_teacher(folder.teacher(until), trainer)
        write_metrics(folder.metrics(until), progress.finished)
        write_embeddings(folder.embeddings(until), embeddings)
        folder.seal_encoder(until)
    trainer.resume.save(trainer.learner, progress, last=True)


def hand_out_embeddings(progress: Progress, job: TrainingJob, folder: TrainingFolder, until: int, out: Path) -> None:
    """Write the job's output, or what is left of it if training has passed the block."""
    if has_passed(progress, job, until):
        logger.info("iteration %d is over already; its prototypes are kept, its embeddings are not", until)
        write_passed_embeddings(out, folder.prototypes(until))
    else:
        hand_out(folder.embeddings(until), out)


def read_given(args: argparse.Namespace, variant: VariantRecipe, cohort: CohortTokens) -> Given | None:
    """The targets that the job begins with. Targets of other slides, regions or settings are refused."""
    if args.first_prototypes is None or variant.prototypes is None:
        return None
    prototypes = read_prototypes(args.first_prototypes)
    refuse_other_prototypes(args.first_prototypes, prototypes, variant.prototypes, cohort)
    if variant.slide_graph is None:
        return Given(args.first, Renewal(prototypes, None))
    if args.first_graph is None:
        raise UserError("--first-graph is missing: a term of the objective needs it")
    graph = read_slide_graph(args.first_graph)
    if graph.slides != cohort.slides or graph.neighbours.shape[1] != variant.slide_graph.n_neighbours:
        raise UserError(f"{args.first_graph}: a graph of other slides or settings; run link_slides again")
    return Given(args.first, Renewal(prototypes, graph))


def refuse_other_prototypes(path: Path, found: CohortPrototypes, asked: Prototypes, cohort: CohortTokens) -> None:
    """Refuse prototypes of other slides or regions than the manifest's, or that other settings made."""
    if found.slides != cohort.slides or found.offsets.tolist() != cohort.offsets.tolist():
        raise UserError(f"{path}: prototypes of other slides or regions than the manifest's; run cluster_regions again")
    if (found.prototypes.shape[1], found.features) != (asked.n_prototypes, asked.features):
        raise UserError(
            f"{path}: {found.prototypes.shape[1]} prototypes a slide of {found.features}, but the config asks for"
            f" {asked.n_prototypes} of {asked.features}; run cluster_regions again"
        )


def load_start(path: Path, trainer: Trainer, expected: Identity) -> None:
    """Start from a checkpoint with the same settings, cohort and point in the schedule; refuse any other."""
    start = read_checkpoint(path, trainer.learner.device)
    different = differences(start["identity"] | {RENEWAL: expected[RENEWAL]}, expected)
    if different:
        raise UserError(
            f"checkpoint {path} is of another experiment, different in {', '.join(different)};"
            " give the checkpoint of pretrain_dino with these settings, or run that stage again"
        )
    trainer.learner.load_state_dict(start["learner"])
