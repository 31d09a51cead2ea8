"""Files and folders that are either whole or absent: written beside their place, flushed to disk, renamed."""

import os
import re
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in `path`'s folder that becomes `path` when the block ends without an error.

    The name holds machine and process, so two processes that write the same file cannot tear it: the last
    one wins whole. The temporary file keeps the suffix, since writers choose formats by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for abandoned in abandoned_by_killed(path, partial_at_first(path.parent.absolute())):
        abandoned.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.stem}.{socket.gethostname()}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def abandoned_by_killed(path: Path, partial: Iterable[Path]) -> list[Path]:
    """Those of some temporary files or folders that are of `path`, and whose process was killed on this machine."""
    name = re.compile(rf"\.{re.escape(f'{path.stem}.{socket.gethostname()}')}\.(\d+)\.partial{re.escape(path.suffix)}")
    processes = {left: match[1] for left in partial if (match := name.fullmatch(left.name))}
    return [left for left, process in processes.items() if not Path(f"/proc/{process}").exists()]


def partial_in(folder: Path) -> list[Path]:
    """The temporary files and folders in a folder."""
    return list(folder.glob(".*.partial*"))


@cache
def partial_at_first(folder: Path) -> list[Path]:
    """The same as this process found it: to list a folder for each of its files takes quadratic time."""
    return partial_in(folder)


def flush(path: Path) -> None:
    """Force `path`'s bytes to disk, so that a rename never exposes an empty file after a crash."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` that takes its place, whole, when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for abandoned in abandoned_by_killed(path, partial_in(path.parent)):
        shutil.rmtree(abandoned)
    temporary = path.with_name(f".{path.stem}.{socket.gethostname()}.{os.getpid()}.partial{path.suffix}")
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file() and file.stat().st_nlink == 1:  # others are on the disk already
                flush(file)
        if path.exists():  # a folder cannot replace one that holds files
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def link_or_copy(source: Path, place: Path) -> None:
    """Give a file a second place: by a hard link, or a copy where the file system has none."""
    try:
        os.link(source, place)
    except OSError:
        shutil.copyfile(source, place)
