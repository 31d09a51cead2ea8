"""Region embeddings of a cohort (`embeddings.h5`), which are clustered; written after each training stage.

Of the teacher's view of each region's centre crop, slides one after the other in order of slide id:
bottleneck: (R, bottleneck) float32, unit vectors.
region_vector: (R, width) float32.
offsets: (S + 1,) int64, slide s holds rows offsets[s] to offsets[s + 1].
slides: (S,) UTF-8, slide ids.
checksums: (S,) of a slide's two kinds of vectors (slpd/artifacts/checksums.py); absent in files of earlier releases.

Of an iteration that training has passed, embeddings are no longer kept, but the prototypes made of them are. A file
that is asked for once more has no datasets; its attribute `prototypes` says where these lie, from the file's folder.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.checksums import write_checked
from slpd.artifacts.hdf5_file import new_hdf5_file, open_hdf5_file
from slpd.settings.training import Features

MADE_BY = "pretrain_dino or distill_slpd"


@dataclass(frozen=True)
class CohortEmbeddings:
    """The content of the file."""

    bottleneck: NDArray[np.float32]
    region_vector: NDArray[np.float32]
    offsets: NDArray[np.int64]
    slides: list[str]

    def of(self, features: Features) -> NDArray[np.float32]:
        """(R, D) the vectors that are clustered; may be on disk."""
        return self.bottleneck if features == "bottleneck" else self.region_vector


def write_embeddings(path: Path, embeddings: CohortEmbeddings) -> None:
    """Write the embeddings of a cohort."""
    rows = {"bottleneck": embeddings.bottleneck, "region_vector": embeddings.region_vector}
    with new_hdf5_file(path) as file:
        write_checked(file, rows, embeddings.slides, embeddings.offsets)


def write_passed_embeddings(path: Path, prototypes: Path) -> None:
    """Say where the prototypes are, if any, that were made of embeddings which are no longer kept."""
    with new_hdf5_file(path) as file:
        file.attrs["prototypes"] = os.path.relpath(prototypes, path.parent)


def kept_prototypes(path: Path) -> Path | None:
    """The prototypes that a file of passed embeddings leads to; None: it holds the embeddings themselves.

    Raises:
        UserError: the file is missing, damaged, or another file.
    """
    with open_hdf5_file(path, MADE_BY) as file:
        prototypes = file.attrs.get("prototypes")
    return None if prototypes is None else path.parent / str(prototypes)


@contextmanager
def open_embeddings(path: Path) -> Iterator[CohortEmbeddings]:
    """The embeddings of a cohort, whose vectors are read from disk where they are sliced.

    Raises:
        UserError: the file is missing, damaged, or another file.
    """
    with open_hdf5_file(path, MADE_BY) as file:
        slides = [name.decode() for name in file["slides"][:]]
        yield CohortEmbeddings(file["bottleneck"], file["region_vector"], file["offsets"][:], slides)


def read_embeddings(path: Path) -> CohortEmbeddings:
    """The embeddings of a cohort, in memory.

    Raises:
        UserError: the file is missing, damaged, or another file.
    """
    with open_embeddings(path) as stored:
        bottleneck, region_vector = np.asarray(stored.bottleneck), np.asarray(stored.region_vector)
        return CohortEmbeddings(bottleneck, region_vector, stored.offsets, stored.slides)
