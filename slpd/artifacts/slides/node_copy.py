"""A copy of a slide on the node's own disk, for as long as it is read.

Every copy lies in a folder of its own, which its job keeps locked: a folder that can be locked belongs to a job that
was killed, and the next job on the node removes it.
"""

import errno
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from slpd.artifacts.slides.slide_files import files_of
from slpd.errors import UserError

log = logging.getLogger(__name__)

PREFIX = "slpd-slide-"


@contextmanager
def node_copy(slide: str, path: Path, folder: str) -> Iterator[Path]:
    """The copy of a slide, or the slide itself where it cannot be copied, with a line in the log.

    Args:
        slide: Slide id, for messages.
        path: The slide; whatever files belong to it (DICOM, MIRAX, VMS) are copied with it.
        folder: Where to; may hold variables of the node's environment, as in `$SLURM_TMPDIR`.

    Raises:
        UserError: the folder names a variable that the node does not set.
    """
    base = Path(os.path.expandvars(folder)).expanduser()
    if "$" in str(base):
        raise UserError(f"jobs.copy_to {folder}: the variable is not set on this node; set it or name the folder")
    with ExitStack() as stack:
        try:
            copy = copy_slide(path, stack.enter_context(locked_folder(base)))
        except OSError as error:
            stack.close()
            log.warning("slide %s: not copied to %s (%s); read in place", slide, base, error.strerror)
            copy = path
        yield copy


def copy_slide(path: Path, folder: Path) -> Path:
    """Copy a slide with what belongs to it.

    Raises:
        OSError: the folder has no room, or something cannot be read or written.
    """
    parts = files_of(path)
    needed, free = sum(part.stat().st_size for part in parts), shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"{needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free")
    for part in parts:
        copy = folder / part.relative_to(parts[0].parent)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, copy)
    return folder / parts[0].name


@contextmanager
def locked_folder(base: Path) -> Iterator[Path]:
    """A new, locked folder, removed at the end; folders of killed jobs are removed before."""
    base.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with ExitStack() as meanwhile:  # no other job takes the new folder for an abandoned one
            meanwhile.callback(os.close, lock(base))
            remove_abandoned(base)
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
            stack.callback(shutil.rmtree, folder)
            stack.callback(os.close, lock(folder))
        yield folder


def remove_abandoned(base: Path) -> None:
    """Remove copies that no living job has locked."""
    for folder in base.glob(f"{PREFIX}*"):
        try:
            held = lock(folder, fcntl.LOCK_NB)
        except OSError:  # locked by its job, of another user, or removed just now
            continue
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)
        log.info("removed %s, the copy of a job that was killed", folder)


def lock(folder: Path, how: int = 0) -> int:
    """Lock a folder until the file descriptor that is returned is closed, at the latest by the job's end."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
