"""Tells a disk that is away from a file that is damaged: the first is waited for, the second is not tried again.

Libraries often drop the system's error number, and the page cache hides that a disk is gone. So a file that could not
be read is asked for once more, past the cache.
"""

import errno
import os
import re
from pathlib import Path

AWAY = {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EREMOTEIO, errno.EHOSTDOWN, errno.ENODEV}
AWAY_WORDS = re.compile("|".join(re.escape(os.strerror(number)) for number in sorted(AWAY)))
NUMBER = re.compile(r"errno = (\d+)")  # as libhdf5 writes it
PROBED = 65536  # bytes at either end of a file


def raise_if_away(path: Path, error: BaseException) -> None:
    """Raise an OSError if it was not the file that failed, but its disk.

    Args:
        path: The file that could not be read.
        error: What was said of it.

    Raises:
        OSError: the disk is away; the command ends with status 1, and the job is tried again.
    """
    number = number_in(error) or answer_of(path)
    if number:
        words = f"{os.strerror(number)}: its disk does not answer; the job can be tried again once it does"
        raise OSError(number, words, str(path)) from error


def raise_if_slide_away(path: Path, error: BaseException) -> None:
    """The same of a slide, which was there when the workflow started: also if its folder is gone or empty now.

    That is how a file system looks that is not mounted.
    """
    raise_if_away(path, error)
    if not path.parent.is_dir() or not any(path.parent.iterdir()):
        words = "its folder is gone or empty, as if its disk were not mounted; the job can be tried again once it is"
        raise FileNotFoundError(errno.ENOENT, words, str(path)) from error


def number_in(error: BaseException) -> int:
    """The error number of a disk that is away, where an error, or one that caused it, has it; else 0."""
    if isinstance(error, OSError) and error.errno in AWAY:
        return int(error.errno)
    if words := AWAY_WORDS.search(str(error)):
        return next(code for code in AWAY if os.strerror(code) == words[0])
    for digits in NUMBER.findall(str(error)):
        if int(digits) in AWAY:
            return int(digits)
    return number_in(error.__cause__) if error.__cause__ else 0


def answer_of(path: Path) -> int:
    """The error number of a disk that is away when a file's ends are read; 0: the disk answers."""
    try:
        with open(path, "rb", buffering=0) as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            for offset in (0, max(0, os.fstat(file.fileno()).st_size - PROBED)):
                os.pread(file.fileno(), PROBED, offset)
    except OSError as error:
        return number_in(error)
    return 0
