"""Training metrics (CSV): one line per epoch. Speed is in the log, so that equal runs give equal bytes."""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from slpd.artifacts.atomic import atomic_path


@dataclass(frozen=True)
class EpochMetrics:
    """Means over the steps of an epoch."""

    epoch: int  # counted from 1 over pretrain_dino and all iterations
    loss: float  # weighted sum of the terms
    self_distillation: float
    intra: float  # unweighted; 0 while the term is not used
    inter: float
    teacher_entropy: float  # of the sharpened targets, nats; near 0 or ln(outputs): collapse
    feature_spread: float  # variance of the teacher's unit vectors over a batch, 0 to 1; near 0: collapse
    gradient_norm: float  # over all parameters, before clipping
    learning_rate: float  # of the epoch's last step
    weight_decay: float
    teacher_momentum: float


STEP_METRICS = tuple(field.name for field in fields(EpochMetrics))[1:8]  # what a step finds, in its order


def write_metrics(path: Path, epochs: list[EpochMetrics]) -> None:
    """Write one line per epoch."""
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(EpochMetrics)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in epochs)


def read_metrics(path: Path) -> list[EpochMetrics]:
    """Read the epochs of one training stage."""
    with open(path, newline="", encoding="utf-8") as file:
        return [
            EpochMetrics(epoch=int(cells.pop("epoch")), **{key: float(value) for key, value in cells.items()})
            for cells in csv.DictReader(file)
        ]
