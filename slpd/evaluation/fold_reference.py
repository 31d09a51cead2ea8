"""What the metrics of a fold's test cases take from its other splits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slpd.evaluation.cases import EvaluationData, FoldCases, Outcomes
from slpd.evaluation.head_output import HeadOutput
from slpd.evaluation.thresholds import youden_thresholds
from slpd.settings.evaluation import ClassTask


@dataclass(frozen=True)
class FoldReference:
    """Fixed for a fold: resamples of its test cases do not move it."""

    thresholds: NDArray[np.float64] | None = None  # (C,) of each class's probability, NaN where there is none
    train: Outcomes | None = None  # of a survival task
    starts: NDArray[np.float64] | None = None  # as of FoldCases

    @property
    def thresholds_text(self) -> str:
        """The thresholds of a classification, as metrics.csv has them: of class 1, or of every class."""
        if self.thresholds is None:
            return ""
        shown = self.thresholds[1:] if len(self.thresholds) == 2 else self.thresholds
        return " ".join(map(str, shown.tolist()))


WITHOUT_REFERENCE = FoldReference()


def reference_of_text(thresholds: str) -> FoldReference:
    """What metrics.csv has of a fold: thresholds of class 1, or of every class; of no classes none."""
    numbers = np.array(thresholds.split(), np.float64)
    return FoldReference(np.insert(numbers, 0, np.nan) if len(numbers) == 1 else numbers if len(numbers) else None)


def fold_reference(data: EvaluationData, fold: FoldCases, output: HeadOutput) -> FoldReference:
    """What a fold and a head's outputs for the cases by which a cut is chosen give."""
    if data.survival:
        return FoldReference(train=fold.train.outcomes, starts=fold.starts)
    if not isinstance(data.task, ClassTask):
        return WITHOUT_REFERENCE
    return FoldReference(youden_thresholds(fold.cut_by.outcomes.numbers, output.cut_outputs))
