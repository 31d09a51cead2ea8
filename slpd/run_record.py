"""The record of a run, collected when it ends, whether it succeeded or not."""

import logging
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from slpd.artifacts.runs.run_manifest import RunManifest, input_records, last_manifest, result_records
from slpd.artifacts.slides.slide_files import files_of
from slpd.errors import UserError
from slpd.inputs import Sheet, weights_of
from slpd.settings.experiment import Experiment
from slpd.slurm.jobs import ended_jobs, has_slurm
from slpd.versions import RESULT_VERSIONS

log = logging.getLogger(__name__)

# What computes, reads or sorts; the lock file has the rest.
RECORDED = re.compile(
    r"torch|torchvision|timm|numpy|opencv-.*|scipy|scikit-.*|pandas|faiss-.*|cucim-.*|openslide-.*|h5py|pillow|snakemake.*|slpd"
)
SUBMITTED = re.compile(r"submitted with SLURM jobid (\d+)")


def record_run(
    experiment: Experiment,
    sheets: Mapping[str, Sheet],
    results: Path,
    stages: Mapping[str, str],
    started: float,
    snakemake_log: Path,
    succeeded: bool,
) -> Path:
    """Write the manifest of a run.

    Args:
        experiment: The checked config.
        sheets: Cohort -> slide -> line of its sheet.
        results: The experiment's folder.
        stages: Path relative to `results` -> stage that wrote it.
        started: Seconds since the epoch.
        snakemake_log: Snakemake's log of the run, which names the jobs.
        succeeded: Whether all jobs ended well.

    Returns:
        The manifest's path.
    """
    run = datetime.fromtimestamp(started, UTC).strftime("%Y%m%d-%H%M%S")
    config = experiment.model_dump(mode="json")
    return RunManifest(
        run=run,
        ended=datetime.now(UTC).strftime("%Y%m%d-%H%M%S"),
        succeeded=succeeded,
        command=sys.argv,
        config=config,
        seeds=dict(seeds(config)),
        result_versions=RESULT_VERSIONS,
        packages=packages(),
        git=git_state(Path(__file__).parents[1]),
        hardware=hardware(),
        jobs=jobs_of(snakemake_log),
        inputs=input_records(small_inputs(experiment, sheets), slides(sheets)),
        results=result_records(results, run, stages, manifest_before(results)),
    ).write(results)


def manifest_before(results: Path) -> RunManifest | None:
    """The manifest of the run before; None: there is none, or it is damaged, and every result is hashed again."""
    try:
        return last_manifest(results)
    except UserError as error:
        log.warning("%s; all results are hashed again", error)
        return None


def seeds(config: Any, where: str = "") -> Iterator[tuple[str, int]]:  # noqa: ANN401  # any JSON value
    """Every seed of the config with its key; of lists' entries with their name."""
    if isinstance(config, list):
        for position, entry in enumerate(config):
            name = entry.get("name", position) if isinstance(entry, dict) else position
            yield from seeds(entry, f"{where}.{name}")
    elif isinstance(config, dict):
        for key, value in config.items():
            if key == "seed":
                yield f"{where}.seed".lstrip("."), value
            if key == "pretraining_seeds":
                yield from ((f"{key}.{place}", seed) for place, seed in enumerate(value))
            yield from seeds(value, f"{where}.{key}")


def packages() -> dict[str, str]:
    """Name -> version of what computes, and of Python."""
    versions = {
        package.name: package.version for package in distributions() if RECORDED.fullmatch(package.name.lower())
    }
    return {"python": platform.python_version(), **dict(sorted(versions.items()))}


def git_state(folder: Path) -> dict[str, str]:
    """Commit and whether files differ from it; empty outside a checkout."""
    commit = git(folder, "rev-parse", "HEAD")
    changes = git(folder, "status", "--porcelain")
    return {"commit": commit, "changed_files": changes} if commit else {}


def git(folder: Path, *words: str) -> str:
    """Git's answer, or nothing."""
    try:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def hardware() -> dict[str, Any]:
    """The machine of the head process; jobs of a cluster have their nodes in `jobs`."""
    models = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    system = {"host": platform.node(), "system": platform.platform()}
    return {
        **system,
        "cpu": models[0] if models else "",
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "gpus": gpus(),
    }


def gpus() -> list[str]:
    """Names of the machine's GPUs, as the driver's tool lists them."""
    try:
        listing = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        return subprocess.run(listing, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []


def jobs_of(log: Path) -> list[dict[str, str]]:
    """The jobs that a run submitted, with task, node, state and time as far as SLURM knows."""
    ids = SUBMITTED.findall(log.read_text(errors="replace")) if log.is_file() else []
    try:
        known = ended_jobs(ids) if has_slurm() else {}
    except UserError:  # no accounting: the ids alone
        known = {}
    keys = ("task", "state", "elapsed", "nodes")
    return [{"id": job} | {key: getattr(known[job], key) for key in keys if job in known} for job in ids]


def small_inputs(experiment: Experiment, sheets: Mapping[str, Sheet]) -> list[Path]:
    """Sheets, weights and published figures."""
    given = weights_of(experiment, sheets).values()
    published = dict.fromkeys(path for table in experiment.tables for path in table.published)
    return [Path(path) for path in (*(cohort.sheet for cohort in experiment.cohorts_of_slides), *given, *published)]


def slides(sheets: Mapping[str, Sheet]) -> list[Path]:
    """The files of slides, or token files made elsewhere, of all cohorts."""
    return [file for sheet in sheets.values() for row in sheet.values() for file in present_files(Path(row.path))]


def present_files(path: Path) -> list[Path]:
    """The files of a slide; of one that is gone its path, which the record marks as unreadable."""
    try:
        return files_of(path)
    except (UserError, OSError):
        return [path]
