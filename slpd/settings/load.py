"""Loads a config: checks keys, types and ranges, and how its parts fit together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from slpd.errors import UserError
from slpd.settings.evaluation import ImportedFolds, PredictedCohort, SurvivalTask, TaskKind
from slpd.settings.experiment import Cohort, Experiment
from slpd.settings.heads import KnnHead, LogisticHead, TrainedHead
from slpd.settings.preset import with_preset
from slpd.settings.section import Named, first_fault, named
from slpd.settings.tables import metrics_of, refuse_names_of_differences
from slpd.settings.training import Training
from slpd.settings.variant import Variant


def load_experiment(config: Mapping[str, Any]) -> Experiment:
    """Check the merged config: keys, types, ranges, names that refer to each other.

    Raises:
        UserError: the first fault, with its key, its value and what was expected.
    """
    given = with_preset(config)
    try:
        experiment = Experiment.model_validate(given)
    except ValidationError as error:
        raise UserError(first_fault(error, Experiment, "config", given)) from error
    check_names(experiment)
    check_seeds(experiment)
    refuse_names_of_differences(experiment.tables)
    check_metrics(experiment)
    check_cox(experiment)
    check_grids(experiment)
    for cohort in experiment.cohorts:
        check_geometry(experiment, cohort)
    for task in experiment.tasks:
        check_one_kind(experiment, f"tasks.{task.name}.test_cohort", task.cohorts)
    for wanted in experiment.predictions:
        check_prediction(experiment, wanted)
    for variant in experiment.variants:
        experiment.objective_of(variant)
        experiment.slide_graph_of(variant)
        experiment.training_of(variant)
        experiment.region_encoder_of(variant)
    for cohort in experiment.cohorts:
        for variant in experiment.trained_on(cohort.name):  # others may be meant for other cohorts
            check_level(experiment, cohort, variant)
            check_crops(experiment, cohort, variant)
    return experiment


def refuse_repeated_keys(files: Iterable[Path]) -> None:
    """Refuse a key that stands twice in one place of a config: YAML takes the last value and says nothing.

    Files that are not here, or no YAML, are for Snakemake to refuse.
    """
    for path in files:
        with suppress(OSError, UnicodeDecodeError, yaml.YAMLError):
            for mapping in mappings(yaml.compose(path.read_text(encoding="utf-8"))):
                keys: set[str] = set()
                for key, _ in mapping.value:
                    if key.value in keys:
                        line = key.start_mark.line + 1
                        raise UserError(f"{path}, line {line}: {key.value} is there twice; keep one")
                    keys.add(key.value)


def mappings(node: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    """All mappings of a YAML document, the outer ones first."""
    inner: Iterable[yaml.Node] = ()
    if isinstance(node, yaml.MappingNode):
        yield node
        inner = (value for _, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    for child in inner:
        yield from mappings(child)


def check_seeds(experiment: Experiment) -> None:
    """The seeds of pretraining are distinct, that of `training` is one of them, and no variant has another."""
    seeds, own = experiment.pretraining_seeds, experiment.training.seed
    if not seeds:
        return
    twice = [seed for seed in dict.fromkeys(seeds) if seeds.count(seed) > 1]
    if twice:
        raise UserError(f"pretraining_seeds: {twice[0]} is given {seeds.count(twice[0])} times; seeds are distinct")
    if own not in seeds:
        raise UserError(
            f"pretraining_seeds: {', '.join(map(str, seeds))}, without training.seed ({own}), whose encoders the report"
            " shows; add it, or make training.seed one of them"
        )
    for variant in experiment.variants:
        if "seed" in variant.training:
            raise UserError(
                f"variants.{variant.name}.training.seed: variants are trained with every seed of pretraining_seeds;"
                " remove the key, or make pretraining_seeds empty"
            )
    written = {variant.name for variant in experiment.variants}
    for variant in experiment.every_variant[len(experiment.variants) :]:
        if variant.name in written:
            raise UserError(f"variants: {variant.name} is what a repeat by pretraining_seeds is called; rename it")


def check_level(experiment: Experiment, cohort: Cohort, variant: Variant) -> None:
    """Refuse to link slides that have no prototypes of their own."""
    objective = experiment.objective_of(variant)
    if experiment.prototypes_of(cohort, variant).level == "cohort" and objective.needs_graph:
        keys = " and ".join(f"objective.{term.weight_key}" for term in objective.terms if term.needs == "slide graph")
        raise UserError(
            f"variants.{variant.name}: prototypes.level is cohort, so slides have no prototypes to link, but"
            f" {keys} is not 0; set it to 0"
        )


def check_names(experiment: Experiment) -> None:
    """Entries have distinct names, and every name that is referred to exists."""
    names = {
        key: distinct(key, entries)
        for key, entries in (
            ("cohorts", experiment.cohorts),
            ("variants", experiment.variants),
            ("tasks", experiment.tasks),
            ("heads", experiment.heads),
            ("tables", experiment.tables),
            ("predictions", experiment.predictions),
        )
    }
    for head in experiment.heads:
        if isinstance(head, TrainedHead):
            refer(f"heads.{head.name}.preset", [head.preset], "head_presets", list(experiment.head_presets))
    with_sheets = [cohort.name for cohort in experiment.cohorts_of_slides]
    for cohort in experiment.cohorts:
        refer(f"cohorts.{cohort.name}.of", cohort.of, "cohorts with a sheet", with_sheets)
    for task in experiment.tasks:
        refer(f"tasks.{task.name}.cohort", [task.cohort], "cohorts with a sheet", with_sheets)
        refer(f"tasks.{task.name}.test_cohort", task.cohorts[1:], "cohorts with a sheet", with_sheets)
    refer("report.variants", experiment.report.variants or [], "variants", names["variants"])
    for table in experiment.tables:
        refer(f"tables.{table.name}.tasks", table.tasks, "tasks", names["tasks"])
        refer(f"tables.{table.name}.variants", table.variants, "variants", names["variants"])
        refer(f"tables.{table.name}.heads", table.heads, "heads", names["heads"])
        for variant in experiment.variants:
            if variant.name in table.variants:
                check_encoder_of(variant, names["cohorts"], experiment.variants)


def check_encoder_of(variant: Variant, cohorts: Sequence[str], variants: Sequence[Variant]) -> None:
    """Refuse an encoder of a cohort or variant that does not exist or is not trained."""
    if variant.encoder_of:
        key = f"variants.{variant.name}.encoder_of"
        trained = [other.name for other in variants if other.trained]
        refer(f"{key}.cohort", [variant.encoder_of.cohort], "cohorts", cohorts)
        refer(f"{key}.variant", [variant.encoder_of.variant], "trained variants", trained)


def check_metrics(experiment: Experiment) -> None:
    """Refuse a table with a metric that none of its tasks has."""
    kinds: dict[str, TaskKind] = {task.name: task.kind for task in experiment.tasks}
    for table in experiment.tables:
        for metric in table.metrics:
            if not any(metric in metrics_of(kinds[task]) for task in table.tasks):
                raise UserError(
                    f"tables.{table.name}.metrics: no task of the table has {metric}; its tasks have"
                    f" {', '.join(dict.fromkeys(m for task in table.tasks for m in metrics_of(kinds[task])))}"
                )


def check_cox(experiment: Experiment) -> None:
    """Refuse to train with Cox's loss where a step has one bag, which is compared with none."""
    cox = {task.name for task in experiment.tasks if isinstance(task, SurvivalTask) and task.loss == "cox"}
    for table in experiment.tables:
        for head in (named(experiment.heads, name) for name in table.heads):
            if isinstance(head, TrainedHead) and experiment.head_presets[head.preset].batch_size == 1:
                for task in sorted(cox & set(table.tasks)):
                    raise UserError(
                        f"tasks.{task}.loss: cox compares the bags of a step with each other, but head_presets."
                        f"{head.preset}.batch_size is 1 (head {head.name}, table {table.name}); raise it, or take"
                        " another preset"
                    )


def check_grids(experiment: Experiment) -> None:
    """Refuse a head that would choose its penalty on validation slides where a task keeps none."""
    for task in experiment.tasks:
        for head in experiment.heads_on(task.name):
            several = isinstance(head, LogisticHead) and len(head.grid) > 1
            if several and not isinstance(task.folds, ImportedFolds) and not task.folds.validation_fraction:
                raise UserError(
                    f"heads.{head.name}.inverse_penalty: is chosen among several values on validation slides, of which"
                    f" task {task.name} has none; give it one value, or raise folds.validation_fraction of the task"
                )


def distinct(key: str, entries: Sequence[Named]) -> list[str]:
    """The names of a list's entries, each only once."""
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{key}: the name {name!r} is given {names.count(name)} times; names are distinct")
    return names


def refer(key: str, wanted: Sequence[str], what: str, names: Sequence[str]) -> None:
    """Refuse a name that no entry has."""
    for name in wanted:
        if name not in names:
            raise UserError(f"{key}: no {what} entry is named {name!r}; there are {', '.join(names) or 'none'}")


def check_geometry(experiment: Experiment, cohort: Cohort) -> None:
    """Patches tile a region, crops fit into its grid, and regions of joined cohorts are of one kind."""
    region_px, patch_px = experiment.regions_of(cohort).region_px, experiment.patch_encoder.patch_px
    if region_px % patch_px:
        raise UserError(
            f"patch_encoder.patch_px: {patch_px} does not divide regions.region_px ({region_px});"
            " a region is a whole grid of patches"
        )
    check_one_kind(experiment, f"cohorts.{cohort.name}.of", cohort.of)
    refuse_crops(experiment.training, region_px // patch_px, "training")


def check_crops(experiment: Experiment, cohort: Cohort, variant: Variant) -> None:
    """The crops of a variant fit into the regions of a cohort."""
    grid = experiment.regions_of(cohort).region_px // experiment.patch_encoder.patch_px
    refuse_crops(experiment.training_of(variant), grid, f"variants.{variant.name}.training")


def refuse_crops(training: Training, grid: int, where: str) -> None:
    """Refuse crops that are larger than a region of `grid` x `grid` patches."""
    for key in ("global_crop", "local_crop"):
        crop = getattr(training, key)
        if crop > grid:
            raise UserError(f"{where}.{key}: {crop} patches do not fit into a region of {grid} x {grid} patches")


def check_one_kind(experiment: Experiment, key: str, cohorts: Sequence[str]) -> None:
    """Refuse cohorts with regions of several kinds where one encoder reads all of them."""
    regions = [experiment.regions_of(named(experiment.cohorts, name)) for name in cohorts]
    kinds = {(of_cohort.mpp, of_cohort.region_px) for of_cohort in regions}
    if len(kinds) > 1:
        shown = " and ".join(f"{region_px} px at {mpp:g} µm/px" for mpp, region_px in sorted(kinds))
        raise UserError(f"{key}: regions of {shown} would go through one encoder, which needs one kind")


def check_prediction(experiment: Experiment, wanted: PredictedCohort) -> None:
    """Refuse predictions by heads that are not trained or keep nothing, or of slides that heads are trained on."""
    key = f"predictions.{wanted.name}"
    refer(f"{key}.cohort", [wanted.cohort], "cohorts with a sheet", [c.name for c in experiment.cohorts_of_slides])
    if (wanted.task, wanted.variant, wanted.head) not in experiment.evaluations_on(wanted.task):
        raise UserError(
            f"{key}: no table has variant {wanted.variant} under head {wanted.head} in task {wanted.task}, so no heads"
            " are trained for it; add them to a table, or correct the names"
        )
    home = named(experiment.tasks, wanted.task).cohort
    if wanted.cohort == home:
        raise UserError(
            f"{key}.cohort: heads of task {wanted.task} are trained on {home}; its test predictions are in the task's"
            " predictions.csv; name a cohort of other slides"
        )
    variant = named(experiment.variants, wanted.variant)
    if variant.vectors or variant.patch_tokens:
        raise UserError(f"{key}.variant: {wanted.variant} has no region vectors that are made here; name another one")
    if isinstance(named(experiment.heads, wanted.head), KnnHead):
        raise UserError(
            f"{key}.head: {wanted.head} is of kind knn, which keeps nothing to predict with; name another head"
        )
    check_one_kind(experiment, f"{key}.cohort", [home, wanted.cohort])
