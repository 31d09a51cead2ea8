"""How assignments and neighbours moved from iteration to iteration (`iterations.npz`); I iterations.

assignments: (I, R) int16, each region's prototype in each iteration; -1 in slides that have none. Numbers of prototypes
    mean nothing across iterations: compare groupings, not numbers.
neighbours: (I, S, K) int32, each slide's most similar slides, best first; -1: none. K is 0 where slides are not linked.
offsets: (S + 1,) int64, slide s holds regions offsets[s] to offsets[s + 1].
slides: (S,) slide ids.

A variant without prototypes has I = 0.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.arrays import read_arrays, write_arrays


@dataclass(frozen=True)
class Iterations:
    """The content of the file."""

    assignments: NDArray[np.int16]
    neighbours: NDArray[np.int32]
    offsets: NDArray[np.int64]
    slides: list[str]


def write_iterations(path: Path, history: Iterations) -> None:
    """Write the history of a variant."""
    write_arrays(path, {**vars(history), "slides": np.array(history.slides)})


def read_iterations(path: Path) -> Iterations:
    """Read the history of a variant."""
    arrays = read_arrays(path, tuple(Iterations.__dataclass_fields__))
    return Iterations(**{**arrays, "slides": arrays["slides"].tolist()})
