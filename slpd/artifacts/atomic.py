"""Files and folders that are either whole or absent: written beside their place, flushed to disk, renamed."""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in `path`'s folder that becomes `path` when the block ends without an error.

    The name holds machine and process, so two processes that write the same file cannot tear it: the last
    one wins whole. The temporary file keeps the suffix, since writers choose formats by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for abandoned in abandoned_by_killed(path):
        abandoned.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.stem}.{socket.gethostname()}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def abandoned_by_killed(path: Path) -> list[Path]:
    """Temporary files or folders of `path` whose process was killed, if it ran on this machine."""
    beginning = f".{path.stem}.{socket.gethostname()}."
    partial = path.parent.glob(f"{beginning}*.partial{path.suffix}")
    processes = {temporary: temporary.name.removeprefix(beginning).split(".")[0] for temporary in partial}
    return [left for left, process in processes.items() if process.isdigit() and not Path(f"/proc/{process}").exists()]


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
    for abandoned in abandoned_by_killed(path):
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
