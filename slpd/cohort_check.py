"""What a cohort needs before GPU time is spent on it: readable slides, regions for prototypes, folds."""

from collections.abc import Mapping, Sequence
from typing import Self

from pydantic import Field

from slpd.artifacts.slides.sheet import SheetRow
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.errors import UserError, first_of
from slpd.evaluation.external import external_slides
from slpd.evaluation.tasks import check_task, labelled_slides
from slpd.settings.evaluation import Task
from slpd.settings.experiment import Cohort, Experiment
from slpd.settings.heads import AnyHead
from slpd.settings.section import Fraction, Section
from slpd.settings.variant import Variant

NAMED = 3  # pairs named in a message


class CohortPlan(Section):
    """What an experiment needs of a cohort."""

    cohort: str
    max_failed_fraction: Fraction = Field(description="largest share of slides that may fail")
    batch_sizes: dict[str, int] = Field(
        description="key of the config -> regions of a training step; none: the cohort is not pretrained on"
    )
    min_regions: dict[str, int] = Field(description="variant -> least regions of a slide with prototypes")
    linked: list[str] = Field(description="variants with an inter-slide term, which needs two slides with prototypes")
    tasks: list[Task] = Field(description="tasks on the cohort")
    heads: dict[str, list[AnyHead]] = Field(description="task -> heads that a table evaluates on it")
    external: list[Task] = Field(default=[], description="tasks of other cohorts that are tested on the cohort")

    @classmethod
    def of(cls, experiment: Experiment, cohort: Cohort) -> Self:
        """What an experiment needs of one of its cohorts."""
        trained = [variant for variant in experiment.trained_on(cohort.name) if variant in experiment.variants]
        tasks = [task for task in experiment.tasks if task.cohort == cohort.name]
        return cls(
            cohort=cohort.name,
            max_failed_fraction=experiment.manifest.max_failed_fraction,
            batch_sizes={batch_key(variant): experiment.training_of(variant).batch_size for variant in trained},
            min_regions={
                variant.name: experiment.prototypes_of(cohort, variant).min_regions
                for variant in trained
                if experiment.has_slide_prototypes(cohort.name, variant)
            },
            linked=[variant.name for variant in trained if experiment.objective_of(variant).needs_graph],
            tasks=tasks,
            heads={task.name: experiment.heads_on(task.name) for task in tasks},
            external=[task for task in experiment.tasks if task.test_cohort == cohort.name],
        )


def batch_key(variant: Variant) -> str:
    """The key that says how many regions a training step of a variant has."""
    return f"variants.{variant.name}.training.batch_size" if "batch_size" in variant.training else "training.batch_size"


def check_cohort(plan: CohortPlan, records: Sequence[SlideRecord], sheet: Sequence[SheetRow]) -> list[str]:
    """Check that a cohort has what is needed.

    Args:
        plan: What is needed.
        records: Every slide's status after `tile_regions`.
        sheet: The cohort's sheet.

    Returns:
        One line per finding, for people.

    Raises:
        UserError: too many slides failed, regions do not fill a batch, no slide has enough of them for
            prototypes, a task cannot be split, or copies of one slide have two patients.
    """
    usable = [record for record in records if record.status == "ok"]
    check_failures(plan.max_failed_fraction, records)
    for variant, least in plan.min_regions.items():
        check_regions(plan.cohort, variant, least, 2 if variant in plan.linked else 1, usable)
    names = {record.slide for record in usable}
    for task in plan.tasks:
        check_task(task, [slide for slide in labelled_slides(task, sheet) if slide.slide in names])
    for task in plan.external:
        external_slides(task, [], [row for row in sheet if row.slide in names])
    copies = copies_of(usable)
    refuse_parted_copies(plan.cohort, copies, {row.slide: row.patient for row in sheet})
    n_regions = sum(record.n_regions or 0 for record in usable)
    for key, batch_size in plan.batch_sizes.items():
        if n_regions < batch_size:
            raise UserError(
                f"cohort {plan.cohort}: {n_regions} regions are fewer than {key} = {batch_size}; lower it or add slides"
            )
    return [
        f"{len(usable)} of {len(records)} slides usable, {n_regions} regions",
        *(f"slides {one.slide} and {other.slide} have the same content; keep one line" for one, other in copies),
        *(f"left out at {record.stage}: {record.reason}" for record in records if record.status == "failed"),
        *(
            f"variant {variant}: {count_below(least, usable)} slides with fewer than {least} regions get no prototypes"
            for variant, least in plan.min_regions.items()
        ),
    ]


def check_failures(max_failed_fraction: float, records: Sequence[SlideRecord]) -> None:
    """Refuse a cohort of which too many slides failed, naming them.

    Raises:
        UserError: the failed slides with their reasons, ten at most.
    """
    failed = [record for record in records if record.status == "failed"]
    if len(failed) < len(records) and len(failed) <= max_failed_fraction * len(records):
        return
    shown = "; ".join(f"{record.stage}: {record.reason}" for record in failed[:10])
    more = f"; and {len(failed) - 10} more" if len(failed) > 10 else ""
    raise UserError(
        f"{len(failed)} of {len(records)} slides failed, manifest.max_failed_fraction allows"
        f" {max_failed_fraction:g}; repair them, remove them from the sheet, or raise the limit. {shown}{more}"
    )


def check_regions(cohort: str, variant: str, least: int, n_slides: int, usable: Sequence[SlideRecord]) -> None:
    """Refuse prototypes that fewer than `n_slides` slides have enough regions for."""
    largest = sorted(usable, key=lambda record: -(record.n_regions or 0))[:n_slides]
    if len(largest) < n_slides or (largest[-1].n_regions or 0) < least:
        most = ", ".join(f"{record.n_regions} in slide {record.slide}" for record in largest)
        raise UserError(
            f"cohort {cohort}, variant {variant}: prototypes need {n_slides} slide{'s' * (n_slides > 1)} of"
            f" prototypes.min_regions = {least} regions or more, the largest have {most};"
            " lower min_regions (and n_prototypes, at most that)"
        )


def copies_of(usable: Sequence[SlideRecord]) -> list[tuple[SlideRecord, SlideRecord]]:
    """Pairs of slides with the same content: a slide's first one, with every other."""
    first: dict[str, SlideRecord] = {}
    pairs = [(first.setdefault(record.content, record), record) for record in usable if record.content]
    return [(one, other) for one, other in pairs if one is not other]


def refuse_parted_copies(
    cohort: str, copies: Sequence[tuple[SlideRecord, SlideRecord]], patients: Mapping[str, str]
) -> None:
    """Refuse copies of one slide under two patients, which could end up in train and test.

    Args:
        cohort: Its name.
        copies: Pairs of slides with the same content; of another number of bytes (a level less, another label) they
            are named and not refused.
        patients: Slide id -> patient.
    """
    parted = [
        f"{one.slide} ({patients[one.slide]}) and {other.slide} ({patients[other.slide]})"
        for one, other in copies
        if one.n_bytes == other.n_bytes and patients[one.slide] != patients[other.slide]
    ]
    if parted:
        raise UserError(
            f"cohort {cohort}: slides of different patients are copies of one file: {first_of(parted, NAMED)};"
            " remove the copies from the sheet"
        )


def count_below(least: int, usable: Sequence[SlideRecord]) -> int:
    """Slides with fewer regions than `least`."""
    return sum((record.n_regions or 0) < least for record in usable)
