"""Prototypes of a cohort (`prototypes.npz`); S slides in order of slide id, M prototypes each, R regions.

prototypes: (S, M, D) float32; zeros for slides that are not kept.
features: what they are means of: bottleneck (brought to length 1) or region_vector (as they are).
kept: (S,) bool, slides with enough regions for prototypes.
assignments: (R,) int16, each region's prototype, 0 to M - 1; -1 in slides that are not kept.
offsets: (S + 1,) int64, slide s holds regions offsets[s] to offsets[s + 1].
slides: (S,) slide ids.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.arrays import read_arrays, write_arrays
from slpd.settings.training import Features


@dataclass(frozen=True)
class CohortPrototypes:
    """The content of the file."""

    prototypes: NDArray[np.float32]
    features: Features
    kept: NDArray[np.bool_]
    assignments: NDArray[np.int16]
    offsets: NDArray[np.int64]
    slides: list[str]


def write_prototypes(path: Path, prototypes: CohortPrototypes) -> None:
    """Write the prototypes of a cohort."""
    texts = {"features": np.array(prototypes.features), "slides": np.array(prototypes.slides)}
    write_arrays(path, {**vars(prototypes), **texts})


def read_prototypes(path: Path) -> CohortPrototypes:
    """Read the prototypes of a cohort."""
    arrays = read_arrays(path, tuple(CohortPrototypes.__dataclass_fields__))
    texts = {"features": str(arrays["features"]), "slides": arrays["slides"].tolist()}
    return CohortPrototypes(**{**arrays, **texts})
