"""Command line: `python -m slpd <stage> ...`, nearly every command a rule of the workflow.

With `--processes N` (N > 1) the stage runs in N processes, one per GPU; with `--nodes M` on M nodes of a SLURM job.
"""

import argparse
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from slpd.caches import use_writable_caches
from slpd.errors import UserError
from slpd.launch import launch

# Idle OpenMP threads sleep instead of spinning: with more threads than free cores, spinning ones take the time
# of working ones (4.3 s against 1.25 s per training step, measured on two busy cores). Read when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

STAGES = {
    "make_cohort": "draw a cohort of slides (procedural tissue, or tiles from a folder) and its sheet",
    "check_encoder": "check that the patch encoder can be built and its weights fit (no rule: when a run starts)",
    "segment_tissue": "find the tissue of a batch of slides",
    "tile_regions": "lay the region grid over the tissue of a batch of slides",
    "picture_regions": "take a small picture of every region of a batch of slides",
    "check_cohort": "check that a cohort has what the experiment needs, before GPU time is spent",
    "import_hipt": "turn HIPT's label table and split files into a sheet, folds and a config (no rule: on request)",
    "encode_patches": "encode the regions of a batch of slides into patch tokens",
    "import_tokens": "take patch tokens made elsewhere instead of slides",
    "cohort_manifest": "list slides used and left out, with reasons",
    "join_cohorts": "list the slides of several cohorts as one cohort",
    "pretrain_dino": "train the region encoder with plain DINO up to the first prototypes",
    "cluster_regions": "find the prototypes of every slide",
    "link_slides": "find every slide's most similar slides and the prototype correspondence",
    "distill_slpd": "train iterations of a variant: prototypes, slide graph, distillation",
    "collect_iterations": "lay out the trained encoder of a variant and the history of its iterations",
    "draw_encoder": "draw the random weights of a variant that is not trained",
    "embed_bags": "embed every region with a variant's encoder",
    "export_encoder": "write a trained region encoder with its model card",
    "export_released": "write a region encoder as HIPT's scripts read it (no rule: on request)",
    "attend_patches": "compute a variant's attention to the patches of every region",
    "map_prototypes": "map the prototypes of all slides, and the slides, into planes",
    "test_graph": "test what neighbours in the slide graph share beyond chance",
    "pool_tokens": "take the mean patch token of every region as its vector",
    "bag_patches": "take every patch token of a slide as an instance of its bag",
    "import_vectors": "take vectors of slides or regions made elsewhere",
    "split_folds": "split a task's slides into folds",
    "evaluate": "train and test a head on every fold of a task",
    "make_table": "collect evaluations into a table",
    "make_report": "write the report of an experiment",
    "init": "write a first sheet and config of a folder of slides (no rule: on request)",
    "schema": "print the JSON schema of config files, for editors (no rule: on request)",
    "doctor": "check whether this machine and its queue can run an experiment (no rule: on request)",
    "failures": "say why jobs failed on the cluster (no rule: on request)",
    "recover": "after a killed run: wait for its jobs, remove its lock (no rule: on request)",
    "verify": "recompute hashes and compare them with a run's manifest (no rule: on request)",
}


def main() -> int:
    """Parse the command line, run the stage, end a failure that a user can mend in one line.

    Exit status 2: another try would end the same way. 1: it may not, a disk may be back or have room.
    """
    use_writable_caches()
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # a queue's warning: training reacts to it once it has begun
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("faiss").setLevel(logging.WARNING)  # which of its builds it tries first is no fault
    launcher = argparse.ArgumentParser(prog="python -m slpd", add_help=False, allow_abbrev=False)
    launcher.add_argument("--processes", type=int)
    launcher.add_argument("--nodes", type=int, default=1)
    launcher.add_argument("--rendezvous")  # set by the launcher for its copies on the nodes
    launcher.add_argument("words", nargs=argparse.REMAINDER)
    launcher.add_argument("-h", "--help", action="store_true")
    given = launcher.parse_args()
    stage, *words = given.words or [""]
    if stage not in STAGES:
        print_stages()
        return 0 if given.help else 2
    try:
        if given.processes:
            launch(given.processes, given.nodes, given.rendezvous, given.words)
        return run(stage, words)
    except (UserError, OSError) as error:
        if isinstance(error, OSError):  # usually a full disk or a missing file, but not certainly
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1


def run(stage: str, words: Sequence[str]) -> int:
    """Run a stage with its arguments; its exit status."""
    module = importlib.import_module(f"slpd.stages.{stage}")
    parser = argparse.ArgumentParser(prog=f"python -m slpd {stage}", description=module.__doc__)
    module.add_arguments(parser)
    return int(module.run(parser.parse_args(words)) or 0)


def print_stages() -> None:
    """Print every stage with what it does."""
    print("usage: python -m slpd [--processes N [--nodes M]] <stage> ...\n\nstages:")
    for stage, purpose in STAGES.items():
        print(f"  {stage:16} {purpose}")


if __name__ == "__main__":
    sys.exit(main())
