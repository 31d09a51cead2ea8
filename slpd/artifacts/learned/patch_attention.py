"""What the region encoder looks at (`patch_attention.h5`): the attention of its last block over a region's patches.

R regions of the slides used, one slide after the other in order of slide id (as in `bags.h5`), P patches row by row.
attention: (R, heads, P) float16, from the class token to each patch, 0 to 1. The class token's own part of the
    softmax is left out: over the patches it sums to less than 1. nan where a patch is absent.
offsets: (S + 1,) int64, slide s holds regions offsets[s] to offsets[s + 1].
slides: (S,) UTF-8, slide ids.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.hdf5_file import new_hdf5_file, open_hdf5_file


@dataclass(frozen=True)
class PatchAttention:
    """The content of the file."""

    attention: NDArray[np.float16]
    offsets: NDArray[np.int64]
    slides: list[str]


def write_patch_attention(
    path: Path,
    slides: list[str],
    offsets: NDArray[np.int64],
    shape: tuple[int, int],
    pieces: Iterable[NDArray[np.float16]],
) -> None:
    """Write the attention of a cohort, some regions at a time.

    Args:
        path: The file.
        slides: Slide ids, in order.
        offsets: (S + 1,) regions of the slides.
        shape: Heads and patches.
        pieces: (n, heads, P) of all regions in order, n at a time.
    """
    with new_hdf5_file(path) as file:
        attention = file.create_dataset("attention", shape=(int(offsets[-1]), *shape), dtype=np.float16)
        start = 0
        for piece in pieces:
            attention[start : start + len(piece)] = piece
            start += len(piece)
        file.create_dataset("offsets", data=offsets)
        file.create_dataset("slides", data=slides, dtype=h5py.string_dtype())


@contextmanager
def open_patch_attention(path: Path) -> Iterator[PatchAttention]:
    """The attention of a cohort, read from disk where it is sliced: large cohorts have gigabytes of it.

    Raises:
        UserError: the file is missing, damaged, or another file.
    """
    with open_hdf5_file(path, "attend_patches") as file:
        slides = [name.decode() for name in file["slides"][:]]
        yield PatchAttention(file["attention"], file["offsets"][:], slides)
