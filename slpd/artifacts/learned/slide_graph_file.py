"""Slide graph of a cohort (`graph.npz`); S slides in order of slide id, K neighbours, M prototypes.

neighbours: (S, K) int32, most similar kept slides, best first; -1: none (a slide not kept, or too few kept).
similarity: (S, K) float32, sum of cosines of the best one-to-one matching, -M to M; 0 where none.
correspondence: (S, K, M) int32, prototype k of the slide corresponds to this prototype of the neighbour; -1 where none.
slides: (S,) slide ids.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.arrays import read_arrays, write_arrays


@dataclass(frozen=True)
class SlideGraphArrays:
    """The content of the file."""

    neighbours: NDArray[np.int32]
    similarity: NDArray[np.float32]
    correspondence: NDArray[np.int32]
    slides: list[str]


def write_slide_graph(path: Path, graph: SlideGraphArrays) -> None:
    """Write the slide graph."""
    write_arrays(path, {**vars(graph), "slides": np.array(graph.slides)})


def read_slide_graph(path: Path) -> SlideGraphArrays:
    """Read the slide graph."""
    arrays = read_arrays(path, tuple(SlideGraphArrays.__dataclass_fields__))
    return SlideGraphArrays(**{**arrays, "slides": arrays["slides"].tolist()})
