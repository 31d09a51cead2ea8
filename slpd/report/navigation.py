"""Which pages there are, and under what names."""

from collections.abc import Iterator
from itertools import product

from slpd.report.site import HOME, Link
from slpd.settings.evaluation import TaskSettings
from slpd.settings.experiment import Experiment
from slpd.settings.heads import TrainedHead
from slpd.settings.section import named

WeighingHead = tuple[TaskSettings, str, str]  # task, variant and head of an evaluation


def page_name(*words: str) -> str:
    """The file name of a page."""
    return f"{'-'.join(words)}.html"


def navigation(experiment: Experiment) -> list[Link]:
    """All pages, in order."""
    return [
        Link(HOME, "Summary"),
        *(Link(page_name("results", table.name), table.name, "Results") for table in experiment.tables),
        *(Link(page_name("slides", cohort.name), cohort.name, "Slides") for cohort in experiment.cohorts_of_slides),
        *(Link(page_name("training", cohort), cohort, "Training") for cohort in trained_cohorts(experiment)),
        *(link for names in reported(experiment) for link in variant_links(experiment, *names)),
        Link("settings.html", "Settings and versions", "Repeat"),
    ]


def trained_cohorts(experiment: Experiment) -> list[str]:
    """The cohorts that encoders are trained on."""
    return [cohort.name for cohort in experiment.cohorts if experiment.trained_on(cohort.name)]


def reported(experiment: Experiment) -> list[tuple[str, str]]:
    """Every cohort with every variant that has pages of prototypes, slide graph and attention."""
    return [
        (cohort.name, variant.name) for cohort in experiment.cohorts for variant in experiment.reported_on(cohort.name)
    ]


def variant_links(experiment: Experiment, cohort: str, variant: str) -> Iterator[Link]:
    """The pages of a variant, which those trained alike share."""
    group = f"{' = '.join(trained_alike(experiment, cohort, variant))} · {cohort}"
    yield Link(page_name("prototypes", cohort, variant), "Prototypes", group)
    yield Link(page_name("graph", cohort, variant), "Slide graph", group)
    for task, _, head in weighing_heads(experiment, cohort, variant):
        yield Link(page_name("attention", task.name, variant, head), f"Attention: {task.name}, {head}", group)


def trained_alike(experiment: Experiment, cohort: str, variant: str) -> list[str]:
    """A trained variant and those that are trained alike."""
    equals = experiment.equals_of(cohort, named(experiment.variants, variant))
    return [variant, *(other.name for other in equals)]


def weighing_heads(experiment: Experiment, cohort: str, variant: str) -> list[WeighingHead]:
    """Every evaluation in a table whose head weighs regions: not of mean vectors.

    Of variants that are trained alike, the first in a table: their evaluations are equal too.
    """
    alike = trained_alike(experiment, cohort, variant)
    tasks = {task.name: task for task in experiment.tasks if task.cohorts == [cohort]}  # tested on its slides
    weighing = {head.name for head in experiment.heads if isinstance(head, TrainedHead)}
    firsts: dict[tuple[str, str], WeighingHead] = {}
    for table in experiment.tables:
        shown = sorted(set(alike) & set(table.variants), key=lambda name: (name != variant, name))
        for task, head in product(table.tasks, table.heads):
            if shown and task in tasks and head in weighing:
                firsts.setdefault((task, head), (tasks[task], shown[0], head))
    return list(firsts.values())
