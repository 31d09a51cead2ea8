"""Check whether this machine and its queue can run an experiment: a line per check, and what to do (no rule)."""

import argparse
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from slpd.artifacts.slides.slide_files import n_bytes_of
from slpd.doctor.files import file_findings
from slpd.doctor.finding import Finding
from slpd.doctor.machine import machine_findings, results
from slpd.doctor.queue import queue_findings
from slpd.errors import UserError
from slpd.slurm.jobs import has_slurm

REQUESTS = Path(__file__).parents[2] / "workflow/scripts/requests.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("--configfile", nargs="*", default=[], help="as of snakemake")
    parser.add_argument("--profile", help="as for snakemake; the queue is checked too")
    parser.add_argument("--on-node", metavar="OPTIONS", help="options of srun: check a node, as --on-node='--gpus=1'")


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 if there is a problem."""
    if args.on_node is not None:
        return on_node(args)
    problems = 0
    for finding in findings(args):
        print(finding, flush=True)
        problems += not finding.good
    print(f"{problems} problem{'s' * (problems != 1)}")
    return int(problems > 0)


def on_node(args: argparse.Namespace) -> int:
    """Run the checks on a node of the cluster.

    Raises:
        UserError: this machine cannot ask for one.
    """
    if not has_slurm():
        raise UserError("--on-node needs srun, and this machine has no SLURM; ask on one that submits jobs")
    own = ["--configfile", *args.configfile] if args.configfile else []
    command = ["srun", "--ntasks=1", *shlex.split(args.on_node), sys.executable, "-m", "slpd", "doctor", *own]
    return subprocess.run(command, check=False).returncode


def findings(args: argparse.Namespace) -> Iterator[Finding]:
    """Everything that is checked."""
    asked = experiment(args)
    if isinstance(asked, Finding):
        yield asked
        yield from machine_findings(None, 0)
        return
    config, slides = asked["config"], asked["slides"]
    yield Finding("config", True, f"experiment {config['experiment']}, {len(slides)} slides")
    yield from file_findings(config, slides)
    yield from machine_findings(config["jobs"]["copy_to"], max(n_bytes_of(Path(path)) for path in slides))
    yield results(asked["n_bytes"])
    if args.profile:
        yield from queue_findings(read_profile(asked["profile"]), asked["requests"], Path.cwd())


def experiment(args: argparse.Namespace) -> dict[str, Any] | Finding:
    """The checked config, its slides, the requests of its jobs, the disk they want; or what is wrong with it."""
    words = ["--configfile", *args.configfile] if args.configfile else []
    words += ["--profile", args.profile] if args.profile else []
    run = subprocess.run([sys.executable, str(REQUESTS), *words], capture_output=True, text=True, check=False)
    if run.returncode:
        lines = run.stderr.strip().splitlines()
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error:")]
        return Finding("config", False, (errors or lines)[-1])
    content: dict[str, Any] = json.loads(run.stdout)
    return content


def read_profile(path: str) -> dict[str, Any]:
    """The content of a profile's file."""
    content: dict[str, Any] = yaml.safe_load(Path(path).read_text())
    return content
