"""What a head says of the test cases of a fold, and of those by which a cut through its outputs is chosen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Parameters = Mapping[str, NDArray[Any]]  # what a head has learnt in a fold, by name


@dataclass(frozen=True)
class HeadOutput:
    """Of n test cases, in their order."""

    outputs: NDArray[np.float64]  # (n, C) class probabilities; of survival tasks hazards
    weights: list[NDArray[np.float32]]  # of each case (n regions,): the part of each region in it, sums to 1
    cut_outputs: NDArray[np.float64]  # (m, C) the outputs for `FoldCases.cut_by`
    parameters: Parameters = field(default_factory=dict)  # empty: the head keeps none
