"""Tokens that experiments share (`jobs.shared_tokens`): token files as `<folder>/<slide>/<fingerprint>.h5`.

The shared file and those of experiments are hard links of one file:

- Sharing takes no room. Each experiment can be deleted by itself, and so can the folder.
- What no experiment uses any more has one link: `find <folder> -links 1 -name '*.h5' -delete`.
- Nothing is locked. Two runs that encode a slide at once make the same tokens, and each link is whole.
"""

import logging
import os
from pathlib import Path

from slpd.artifacts.atomic import atomic_path
from slpd.artifacts.checksums import is_proven
from slpd.artifacts.patch_tokens.token_file import TokenSource, has_tokens

log = logging.getLogger(__name__)


def take_shared(folder: Path, source: TokenSource, tokens: Path) -> bool:
    """Link the tokens of a slide into an experiment if they are there, and as they were written.

    Args:
        folder: `jobs.shared_tokens`.
        source: Of the tokens that are needed.
        tokens: The experiment's token file.
    """
    shared = shared_path(folder, source)
    return has_tokens(shared, source) and is_proven(shared) and linked(shared, tokens)


def share(folder: Path, source: TokenSource, tokens: Path) -> None:
    """Link an experiment's tokens into the folder, unless they are there, damaged, or lack a region."""
    shared = shared_path(folder, source)
    there = shared.exists() and shared.samefile(tokens)
    if not there and has_tokens(tokens, source) and is_proven(tokens):
        linked(tokens, shared)


def shared_path(folder: Path, source: TokenSource) -> Path:
    """Where tokens lie in the folder."""
    return folder / source.slide / f"{source.fingerprint}.h5"


def linked(source: Path, place: Path) -> bool:
    """Link a file at another place, in place of what is there; whether it could be done."""
    try:
        with atomic_path(place) as temporary:
            os.link(source, temporary)
    except OSError as error:
        log.warning(
            "%s: not linked as %s (%s); jobs.shared_tokens must be on the file system of the results",
            source,
            place,
            error,
        )
        return False
    return True
