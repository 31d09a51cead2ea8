"""Recompute hashes of an experiment's inputs and results, compare them with its last run's manifest (no rule)."""

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from slpd.artifacts.checksums import damaged_slides, lacks_checksums
from slpd.artifacts.disk import raise_if_away
from slpd.artifacts.runs.run_manifest import (
    FileRecord,
    RunManifest,
    digest_of_checksums,
    input_record,
    last_manifest,
    result_files,
    sha256_of,
)
from slpd.errors import UserError, first_of
from slpd.versions import RESULT_VERSIONS

NAMED = 3  # slides or files, in a line
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
    if unchecked := [path for path in result_files(args.results) if is_of_earlier_release(path)]:
        named = first_of([str(path.relative_to(args.results)) for path in unchecked], NAMED)
        print(f"without checksums, of an earlier release, known by their bytes alone: {named}")
    if rewritten := [name for name, known in manifest.inputs.items() if known.by_edges and is_rewritten(name, known)]:
        print(
            f"written or copied since that run: {first_of(rewritten, NAMED)}; size and ends are the same, what lies"
            " between was not compared. Was a slide written over? docs/recovery.md says how it is done again"
        )
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
        else:
            yield from changes(results / name, name, known)
    yield from (f"not of the last run: {name}" for name in sorted(names - set(manifest.results)))


def changes(path: Path, name: str, known: FileRecord) -> Iterator[str]:
    """What is other in a result than its record says; slides by name, where the file has their checksums."""
    stage = known.stage or "a stage"
    again = f"run with --forcerun {stage}" if path.parent.name == "tokens" else "start again"  # tokens are undeclared
    if not known.by_checksums:
        if sha256_of(path) != known.sha256:
            yield f"result changed: {name} (of {stage}) since run {known.run}"
        return
    try:
        damaged = damaged_slides(path)
    except OSError as error:
        raise_if_away(path, error)
        yield f"result damaged: {name} (of {stage}) cannot be read ({error}); delete it and {again}"
        return
    if damaged:
        slides = first_of(damaged, NAMED)
        yield f"result damaged: {name} (of {stage}): values of {slides} are not those written; delete it and {again}"
    elif digest_of_checksums(path) != known.sha256:
        yield f"result changed: {name} (of {stage}) since run {known.run}"


def is_rewritten(name: str, known: FileRecord) -> bool:
    """Whether an input known by its size and ends has kept them and has another time."""
    try:
        touched = Path(name).stat().st_mtime_ns != known.mtime_ns
    except OSError:  # it is gone, and said to be
        return False
    return touched and input_record(Path(name), by_edges=True).sha256 == known.sha256


def is_of_earlier_release(path: Path) -> bool:
    """Whether a file would have checksums if this release had written it."""
    try:
        return path.suffix == ".h5" and lacks_checksums(path)
    except OSError:  # whatever it is now, its hash has been compared
        return False


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
        names = sorted(mine | theirs)
        unlike = [name for name in mine.keys() & theirs.keys() if mine[name][0] != theirs[name][0]]
        differing = [name for name in names if name not in unlike and mine.get(name) != theirs.get(name)]
        said = f"{len(differing)} of {len(names)} files differ: {first_of(differing, NAMED)}"
        if not differing:
            said = f"{len(mine)} files bit-equal"
        if unlike:  # one run is of an earlier release
            said = f"{len(unlike)} of {len(names)} files cannot be compared: one run knows them by checksums"
        yield f"{stage or 'of no stage'}: {said}"


def of_stage(results: Mapping[str, FileRecord], stage: str) -> dict[str, tuple[bool, str]]:
    """Path -> hash of what a stage wrote, and whether it is of checksums."""
    return {name: (known.by_checksums, known.sha256) for name, known in results.items() if known.stage == stage}
