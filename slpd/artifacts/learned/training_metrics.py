"""Training metrics (CSV): one line per epoch. Speed is in the log, so that equal runs give equal bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from slpd.artifacts.rows import checked_rows, read_cells, write_table
from slpd.settings.training import TERMS

TERM_NAMES = tuple(term.name for term in TERMS)
STEP_METRICS = ("loss", *TERM_NAMES, "teacher_entropy", "feature_spread", "gradient_norm")  # what a step finds
COLUMNS = ("epoch", *STEP_METRICS, "learning_rate", "weight_decay", "teacher_momentum")


@dataclass(frozen=True)
class EpochMetrics:
    """Means over the steps of an epoch."""

    epoch: int  # counted from 1 over pretrain_dino and all iterations
    loss: float  # weighted sum of the terms
    terms: Mapping[str, float]  # name of every term -> its value, unweighted; 0 while the term is not used
    teacher_entropy: float  # of the sharpened targets, nats; near 0 or ln(outputs): collapse
    feature_spread: float  # variance of the teacher's unit vectors over a batch, 0 to 1; near 0: collapse
    gradient_norm: float  # over all parameters, before clipping
    learning_rate: float  # of the epoch's last step
    weight_decay: float
    teacher_momentum: float

    @classmethod
    def of(cls, columns: Mapping[str, float]) -> Self:
        """The metrics of an epoch from the value of every column."""
        others: dict[str, Any] = {name: columns[name] for name in COLUMNS if name not in TERM_NAMES}
        terms = {name: columns.get(name, 0.0) for name in TERM_NAMES}  # a file may be older than a term
        return cls(**others | {"epoch": int(columns["epoch"]), "terms": terms})

    def columns(self) -> dict[str, float]:
        """Every column's value."""
        values = vars(self) | dict(self.terms)
        return {name: values[name] for name in COLUMNS}


def write_metrics(path: Path, epochs: list[EpochMetrics]) -> None:
    """Write one line per epoch."""
    write_table(path, COLUMNS, [list(epoch.columns().values()) for epoch in epochs], line_end="\n")


def read_metrics(path: Path) -> list[EpochMetrics]:
    """Read the epochs of one training stage."""
    return [EpochMetrics.of(columns) for columns in checked_rows(path, dict[str, float], read_cells(path))]
