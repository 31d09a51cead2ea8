"""Write the report of an experiment: a folder of pages, figures and data that opens from a file."""

import argparse
import logging
from pathlib import Path

from slpd.artifacts.atomic import atomic_folder
from slpd.report.site import HOME, Link, Site
from slpd.settings.experiment import Experiment

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the stage."""
    parser.add_argument("--experiment", required=True, help="the whole config (JSON)")
    parser.add_argument("--results", type=Path, required=True, help="the experiment's folder")
    parser.add_argument(
        "--configfiles", nargs="*", default=[], help="files of the config, for the commands to repeat it"
    )
    parser.add_argument("--gpus", required=True, help="rule -> GPUs that a job of it asks for (JSON)")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")


def run(args: argparse.Namespace) -> None:
    """Read what there is and write every page."""
    experiment = Experiment.from_json(args.experiment)
    with atomic_folder(args.out) as folder:
        site = Site(folder, experiment.experiment, navigation(experiment))
        site.write_page(HOME, "summary.html.j2", {})
    log.info("%d pages", len(site.navigation))


def navigation(experiment: Experiment) -> list[Link]:
    """All pages, in order."""
    return [Link(HOME, "Summary")]
