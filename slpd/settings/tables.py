"""Settings of tables."""

import math
from collections.abc import Sequence
from typing import Literal, Self, get_args

from pydantic import Field, model_validator

from slpd.errors import UserError
from slpd.settings.evaluation import TaskKind
from slpd.settings.section import Name, Section

Metric = Literal[
    "auc",
    "auprc",
    "accuracy",
    "balanced_accuracy",
    "sensitivity",
    "specificity",
    "f1",
    "mcc",
    "kappa",
    "ece",
    "c_index",
    "uno_c_index",
    "td_auc",
    "ibs",
    "r2",
    "mae",
    "pearson",
    "spearman",
]
METRICS: tuple[Metric, ...] = get_args(Metric)
SURVIVAL_METRICS: tuple[Metric, ...] = ("c_index", "uno_c_index", "td_auc", "ibs")
REGRESSION_METRICS: tuple[Metric, ...] = ("r2", "mae", "pearson", "spearman")
OF_TRAINING_CASES: tuple[Metric, ...] = ("uno_c_index", "td_auc", "ibs")  # their censoring and intervals of time count
LESS_IS_BETTER: tuple[Metric, ...] = ("ece", "ibs", "mae")


def range_of(metric: Metric) -> tuple[float, float]:
    """The lowest and the highest value that a metric can have; a correlation, a kappa or an MCC may be below 0."""
    low = -1 if metric in ("kappa", "mcc", "pearson", "spearman") else -math.inf if metric == "r2" else 0
    return (low, math.inf if metric == "mae" else 1)


def metrics_of(kind: TaskKind) -> tuple[Metric, ...]:
    """The metrics that a kind of task has."""
    others = {"survival": SURVIVAL_METRICS, "regression": REGRESSION_METRICS}
    return others.get(kind, tuple(m for m in METRICS if m not in SURVIVAL_METRICS + REGRESSION_METRICS))


class Table(Section):
    """A table: one row per head and variant, one column per task and metric."""

    name: Name
    caption: str
    tasks: list[Name] = Field(min_length=1)
    variants: list[Name] = Field(min_length=1)
    heads: list[Name] = Field(min_length=1)
    metrics: list[Metric] = Field(min_length=1)
    published: list[str] = Field(
        default=[], description="CSV files of published figures to print beside ours; config/README.md has the columns"
    )

    @model_validator(mode="after")
    def nothing_twice(self) -> Self:
        """Every row and column is listed once."""
        for key in ("tasks", "variants", "heads", "metrics", "published"):
            names = getattr(self, key)
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ValueError(f"{key}: {twice} is listed twice; keep one")
        return self


def refuse_names_of_differences(tables: Sequence[Table]) -> None:
    """Refuse two tables of which one has the name of the other's file of differences."""
    names = [table.name for table in tables]
    for name in names:
        if f"{name}_differences" in names:
            raise UserError(
                f"tables: {name + '_differences'!r} is also the name of the differences of table {name!r}"
                f" (tables/{name}_differences.csv); give one of them another name"
            )
