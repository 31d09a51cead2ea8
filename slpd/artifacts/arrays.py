"""Named arrays in one `.npz` file: the container of prototypes and slide graph."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.atomic import atomic_path
from slpd.artifacts.disk import raise_if_away
from slpd.errors import UserError


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays; the same arrays give the same bytes (numpy stores no time)."""
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays)  # type: ignore[arg-type]  # the stub takes keywords for options


def read_arrays(path: Path, keys: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The arrays `keys` of a file.

    Raises:
        UserError: the file is missing, damaged, or another file.
        OSError: its disk is away.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in keys}
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise_if_away(path, error)
        raise UserError(f"{path}: cannot be read ({error}); delete it and run the stage that makes it again") from error
