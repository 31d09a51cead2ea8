"""Files that are either whole or absent: written beside their place, flushed to disk, renamed."""

import os
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
    remove_abandoned(path)
    temporary = path.with_name(f".{path.stem}.{socket.gethostname()}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_abandoned(path: Path) -> None:
    """Remove temporary files of `path` whose process was killed, if it ran on this machine."""
    beginning = f".{path.stem}.{socket.gethostname()}."
    for temporary in path.parent.glob(f"{beginning}*.partial{path.suffix}"):
        process = temporary.name.removeprefix(beginning).split(".")[0]
        if process.isdigit() and not Path(f"/proc/{process}").exists():
            temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Force `path`'s bytes to disk, so that a rename never exposes an empty file after a crash."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
