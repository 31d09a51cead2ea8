"""The part of each region in a prediction (`region_weights.h5`): of every fold and test slide.

Attention of ABMIL and ViT_WSI; 1 for the region that speaks in max-pooling; equal parts where a head takes the mean
vector.
weights: (R,) float32, regions in the order of bags.h5; they sum to 1 over a slide, or over all slides of a patient.
offsets: (K + 1,) int64, entry k holds weights offsets[k] to offsets[k + 1].
fold: (K,) int64. slide: (K,) UTF-8.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.hdf5_file import new_hdf5_file, open_hdf5_file


@dataclass(frozen=True)
class SlideWeights:
    """The weights of one test slide in one fold."""

    fold: int
    slide: str
    weights: NDArray[np.float32]  # (n regions,)


def write_region_weights(path: Path, entries: Sequence[SlideWeights]) -> None:
    """Write the weights of every fold and test slide."""
    with new_hdf5_file(path) as file:
        file.create_dataset(
            "weights", data=np.concatenate([np.zeros(0, np.float32), *(entry.weights for entry in entries)])
        )
        offsets = np.cumsum([0, *(len(entry.weights) for entry in entries)])
        file.create_dataset("offsets", data=offsets.astype(np.int64))
        file.create_dataset("fold", data=np.array([entry.fold for entry in entries], np.int64))
        file.create_dataset("slide", data=[entry.slide for entry in entries], dtype=h5py.string_dtype())


def read_region_weights(path: Path) -> list[SlideWeights]:
    """The weights of every fold and test slide, in the order of the file.

    Raises:
        UserError: the file is missing, damaged, or another file.
    """
    with open_hdf5_file(path, "evaluate") as file:
        weights = np.asarray(file["weights"])
        pieces = [weights[start:end] for start, end in pairwise(file["offsets"][:].tolist())]
        return [
            SlideWeights(int(fold), slide.decode(), piece)
            for fold, slide, piece in zip(file["fold"][:], file["slide"][:], pieces, strict=True)
        ]
