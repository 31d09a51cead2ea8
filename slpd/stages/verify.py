"""Recompute hashes of an experiment's inputs and results, compare them with its last run's manifest (no rule)."""

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from slpd.artifacts.runs.run_manifest import (
    FileRecord,
    RunManifest,
    input_record,
    last_manifest,
    result_files,
    sha256_of,
)
from slpd.errors import UserError
from slpd.versions import RESULT_VERSIONS

GONE = os.strerror(errno.ENOENT)
WHY = Path(__file__).parents[2] / "workflow/scripts/why.py"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    parser.add_argument("results", type=Path, help="folder of the experiment, results/<experiment>")
    parser.add_argument("--compare", type=Path, help="folder of another run of it: which stages gave the same bytes")
    parser.add_argument("--configfile", nargs="*", help="as for snakemake; also list what this config would make again")


def run(args: argparse.Namespace) -> int:
    """Print what differs; 1 if something does."""
    manifest = needed(args.results)
    if args.compare:
        lines = list(compared(manifest, needed(args.compare)))
        print("\n".join(lines))
        return int(any(not line.endswith("bit-equal") for line in lines))
    lines = [*drift(args.results, manifest), *other_versions(manifest)]
    if args.configfile is not None:
        lines += stale(args.configfile)
    same = f"run {manifest.run}: {len(manifest.inputs)} inputs and {len(manifest.results)} results are as they were"
    print("\n".join(lines) or same)
    return int(bool(lines))


def needed(results: Path) -> RunManifest:
    """The manifest of an experiment's last run.

    Raises:
        UserError: it has none.
    """
    manifest = last_manifest(results)
    if manifest is None:
        raise UserError(
            f"{results}: no manifest in runs/; one is written when a run ends. Is this results/<experiment>?"
        )
    return manifest


def drift(results: Path, manifest: RunManifest) -> Iterator[str]:
    """Every input and result that has changed."""
    for name, known in manifest.inputs.items():
        now = input_record(Path(name), known.by_edges)
        if known.fault:
            yield f"input unknown: {name} could not be read when the run ended ({known.fault})"
        elif now.fault:
            yield f"input gone: {name}" if now.fault == GONE else f"input unreadable: {name} ({now.fault})"
        elif now.sha256 != known.sha256:
            yield f"input changed: {name}, {known.n_bytes} -> {now.n_bytes} bytes"
    names = {str(path.relative_to(results)) for path in result_files(results)}
    for name, known in manifest.results.items():
        if name not in names:
            yield f"result gone: {name} (of {known.stage or 'a stage'})"
        elif sha256_of(results / name) != known.sha256:
            yield f"result changed: {name} (of {known.stage or 'a stage'}) since run {known.run}"
    yield from (f"not of the last run: {name}" for name in sorted(names - set(manifest.results)))


def other_versions(manifest: RunManifest) -> Iterator[str]:
    """Stages whose result version has changed."""
    for stage, version in RESULT_VERSIONS.items():
        if manifest.result_versions.get(stage) != version:
            yield f"made by another version: {stage} {manifest.result_versions.get(stage)}, now {version}"


def stale(configfiles: Sequence[str]) -> list[str]:
    """The stages that this config would run again, with the reasons: their results have other settings."""
    command = [sys.executable, str(WHY), *(["--configfile", *configfiles] if configfiles else [])]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [] if text.startswith("Nothing") else [f"made by other settings: {line}" for line in text.splitlines()[1:]]


def compared(one: RunManifest, other: RunManifest) -> Iterator[str]:
    """Stage by stage, whether two runs gave the same bytes."""
    stages = dict.fromkeys(record.stage for record in [*one.results.values(), *other.results.values()])
    order = [
        *RESULT_VERSIONS,
        *sorted(stages.keys() - RESULT_VERSIONS.keys()),
    ]  # a run may have stages of another release
    for stage in sorted(stages, key=order.index):
        mine, theirs = of_stage(one.results, stage), of_stage(other.results, stage)
        differing = [name for name in sorted(mine | theirs) if mine.get(name) != theirs.get(name)]
        said = f"{len(differing)} of {len(mine | theirs)} files differ: {', '.join(differing[:3])}"
        yield f"{stage or 'of no stage'}: {said if differing else f'{len(mine)} files bit-equal'}"


def of_stage(results: Mapping[str, FileRecord], stage: str) -> dict[str, str]:
    """Path -> hash of what a stage wrote."""
    return {name: record.sha256 for name, record in results.items() if record.stage == stage}
