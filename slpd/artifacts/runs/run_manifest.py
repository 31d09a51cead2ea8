"""Manifest of a run (`runs/<start>.json`): what went in, what did the work, what came out, with hashes.

Inputs and results are path -> FileRecord. The path of a result is relative to the experiment's folder. They come last:
what is before them can be read without them.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from slpd.artifacts.atomic import write_text
from slpd.artifacts.checksums import stated_checksums
from slpd.artifacts.slides.slide_files import quick_sha256
from slpd.errors import UserError
from slpd.layout import BATCHES, BENCHMARKS, OVERLAYS, REPORT, RUNS

NO_RESULTS = (RUNS, BENCHMARKS, REPORT)  # folders of an experiment whose bytes no run repeats
FILES_FOLLOW = ' "inputs": {'  # the line at which they begin, as `write` indents it
THREADS = 16  # files are on a network file system


class FileRecord(BaseModel):
    """A file as it was at the end of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_bytes: int
    mtime_ns: int
    sha256: str
    by_edges: bool = False  # the hash is of the size, the first and the last 64 KiB: of slides
    by_checksums: bool = False  # the hash is of the checksums that the file states of its slides: of tokens and vectors
    stage: str = ""  # that wrote it; of results
    run: str = ""  # in which it appeared first as it is; of results
    fault: str = ""  # why it could not be read at the end of the run; size, time and hash are then empty


class RunHead(BaseModel):
    """A run, without its files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: str  # its start, YYYYmmdd-HHMMSS, UTC
    ended: str
    succeeded: bool
    command: list[str]
    config: dict[str, Any]  # after defaults and preset
    seeds: dict[str, int]
    result_versions: dict[str, int]
    packages: dict[str, str]
    git: dict[str, str]
    hardware: dict[str, Any]  # of the head process
    jobs: list[dict[str, str]]  # of SLURM: id, task, node, state, elapsed


Head = TypeVar("Head", bound=RunHead)


class RunManifest(RunHead):
    """A run."""

    inputs: dict[str, FileRecord]
    results: dict[str, FileRecord]

    def write(self, results: Path) -> Path:
        """Write it below the experiment's folder."""
        path = results / RUNS / f"{self.run}.json"
        write_text(path, json.dumps(self.model_dump(), indent=1) + "\n")
        return path


def last_manifest(results: Path) -> RunManifest | None:
    """The manifest of the experiment's last run; None: there is none.

    Raises:
        UserError: it is damaged.
    """
    paths = paths_of_runs(results)
    return checked(RunManifest, paths[-1], paths[-1].read_text) if paths else None


def read_runs(results: Path) -> list[RunHead]:
    """All runs of an experiment, in order of their start.

    Raises:
        UserError: a manifest is damaged.
    """
    return [checked(RunHead, path, partial(text_of_head, path)) for path in paths_of_runs(results)]


def text_of_head(path: Path) -> str:
    """The JSON of a manifest up to its files, which are nearly all of its bytes."""
    with open(path, encoding="utf-8") as file:
        lines = list(takewhile(lambda line: not line.startswith(FILES_FOLLOW), file))
    return "".join(lines).rstrip().rstrip(",") + "}"


def checked(model: type[Head], path: Path, read: Callable[[], str]) -> Head:
    """A manifest, or its head.

    Raises:
        UserError: the file is none.
    """
    try:
        return model.model_validate_json(read())
    except (OSError, ValueError) as error:  # pydantic's ValidationError is one
        raise UserError(f"{path}: no manifest of a run ({str(error).splitlines()[0]})") from error


def paths_of_runs(results: Path) -> list[Path]:
    """The files of all manifests of an experiment, in order of their start."""
    return sorted((results / RUNS).glob("*.json"))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def input_records(whole: Iterable[Path], slides: Iterable[Path]) -> dict[str, FileRecord]:
    """Records of the files that a run reads: small ones by all their bytes, slides by their edges."""
    by_edges = {path: False for path in whole} | dict.fromkeys(slides, True)
    with ThreadPoolExecutor(THREADS) as pool:
        records = pool.map(input_record, by_edges.keys(), by_edges.values())
        return {str(path): known for path, known in zip(by_edges, records, strict=True)}


def input_record(path: Path, by_edges: bool) -> FileRecord:
    """The record of an input; it may be gone or unmounted since it was read, which no finished run fails by."""
    try:
        return record(path, (quick_sha256 if by_edges else sha256_of)(path), by_edges=by_edges)
    except OSError as error:
        return unreadable(error, by_edges=by_edges)


def record(path: Path, sha256: str, stage: str = "", run: str = "", by_edges: bool = False) -> FileRecord:
    """The record of a file with a known hash."""
    status = path.stat()
    size, time = status.st_size, status.st_mtime_ns
    return FileRecord(n_bytes=size, mtime_ns=time, sha256=sha256, by_edges=by_edges, stage=stage, run=run)


def unreadable(error: OSError, stage: str = "", run: str = "", by_edges: bool = False) -> FileRecord:
    """The record of a file that cannot be read."""
    fault = error.strerror or str(error)
    return FileRecord(n_bytes=0, mtime_ns=0, sha256="", by_edges=by_edges, stage=stage, run=run, fault=fault)


def result_files(results: Path) -> list[Path]:
    """The files of an experiment that are results, in order; temporary files and those for resuming are none."""
    return sorted(
        path
        for path in results.rglob("*")
        if path.is_file()
        and path.relative_to(results).parts[0] not in NO_RESULTS
        and not path.name.startswith(".")
        and path.suffix not in (".resume", ".part")
    )


def result_records(
    results: Path, run: str, stages: Mapping[str, str], before: RunManifest | None
) -> dict[str, FileRecord]:
    """Records of an experiment's results; a file that has kept its size and time keeps its record.

    Args:
        results: The experiment's folder.
        run: The run that ends.
        stages: Path relative to `results` -> stage that wrote it.
        before: Manifest of the run before.
    """
    known = before.results if before else {}
    paths = {str(path.relative_to(results)): path for path in result_files(results)}
    # Files of slides are there undeclared; other stages declare a folder.
    folders = {folder: stage for name, stage in stages.items() for folder in (folder_of(name), Path(name))}

    def result_record(name: str) -> FileRecord:
        stage = stages.get(name) or folders.get(folder_of(name), "")
        try:
            same = unchanged(paths[name], known.get(name))
            return known[name] if same else new_record(paths[name], stage, run)
        except OSError as error:
            return unreadable(error, stage, run)

    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(paths, pool.map(result_record, paths), strict=True))


def folder_of(name: str) -> Path:
    """The folder of a stage that a file is in."""
    folder = Path(name).parent
    return folder.parent if folder.name in (BATCHES, OVERLAYS) else folder


def new_record(path: Path, stage: str, run: str) -> FileRecord:
    """The record of a result. One with checksums is known by these: on the login node nobody waits for its bytes."""
    by_checksums = digest_of_checksums(path)
    known = record(path, by_checksums or sha256_of(path), stage, run)
    return known.model_copy(update={"by_checksums": bool(by_checksums)})


def digest_of_checksums(path: Path) -> str:
    """SHA-256 of the checksums that a file states of its slides; empty: it states none."""
    try:
        checksums = stated_checksums(path) if path.suffix == ".h5" else []
    except OSError:  # no HDF5, or damaged: known by its bytes
        return ""
    return hashlib.sha256("".join(checksums).encode()).hexdigest() if checksums else ""


def unchanged(path: Path, known: FileRecord | None) -> bool:
    """Whether a file has the size and time of its record."""
    status = path.stat()
    return known is not None and (known.n_bytes, known.mtime_ns) == (status.st_size, status.st_mtime_ns)
