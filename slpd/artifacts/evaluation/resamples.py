"""Metrics of an evaluation in every resample of its tested patients (`resamples.npz`).

<metric>: (W,) float64, mean over folds; NaN where it is defined in none. A metric without an interval has no array.
patients: (n,) ids in the order in which they are drawn: evaluations with the same patients and settings have the same
resamples, so their differences are paired. An evaluation without figures has no patients.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.arrays import read_arrays, write_arrays
from slpd.settings.tables import Metric

PATIENTS = "patients"


def write_resamples(path: Path, metrics: Mapping[Metric, NDArray[np.float64]], patients: Sequence[str]) -> None:
    """Write the metrics of every resample."""
    arrays = {str(metric): values for metric, values in metrics.items() if len(values)}
    write_arrays(path, {**arrays, PATIENTS: np.array(patients, np.str_)})


def read_resamples(path: Path, metric: Metric) -> tuple[NDArray[np.float64], list[str]]:
    """A metric in every resample, and the patients that are drawn.

    Raises:
        UserError: the file is missing, damaged, or has no such metric.
    """
    arrays = read_arrays(path, [metric, PATIENTS])
    return arrays[metric], arrays[PATIENTS].tolist()
