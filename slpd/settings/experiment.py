"""The whole config: sections, lists of cohorts, variants, tasks, heads and tables, and how they fit together."""

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Any, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from slpd.errors import UserError
from slpd.settings.evaluation import (
    ClassTask,
    ImportedFolds,
    Intervals,
    PredictedCohort,
    SurvivalTask,
    Task,
    TaskKind,
)
from slpd.settings.heads import AnyHead, HeadPreset, KnnHead, LogisticHead, TrainedHead
from slpd.settings.jobs import Jobs
from slpd.settings.preset import Preset, with_preset
from slpd.settings.report import Report
from slpd.settings.robustness import Robustness
from slpd.settings.section import MASK_SUFFIXES, Name, Named, Section, Seed, first_fault, named
from slpd.settings.slides import Manifest, PatchEncoderSettings, Reading, Regions, Tissue
from slpd.settings.subgroups import Subgroups
from slpd.settings.tables import Table, metrics_of, refuse_names_of_differences
from slpd.settings.training import PLAIN_DINO, Objective, Prototypes, RegionEncoder, SlideGraph, Training

Changes = Mapping[str, Any]  # keys of a section that an entry sets differently


MASK_NAMES = ("slide", "stem", "file")  # in a pattern of masks


class Cohort(Section):
    """A set of slides that is pretrained on as one: those of a sheet, or those of other cohorts."""

    name: Name
    sheet: str = Field(default="", description="CSV file: slide, path, patient, mpp and label columns")
    of: list[Name] = Field(
        default=[], description="cohorts with sheets whose slides are its slides, instead of a sheet"
    )
    masks: str | None = Field(
        default=None,
        description="pattern of the masks of slides whose line names none: {slide} stands for the id, {stem} and {file}"
        " for the slide file's name without and with its suffix; null: the segmenter's",
    )
    regions: Changes = Field(default={}, description="keys of `regions` that differ for this cohort")
    prototypes: Changes = Field(default={}, description="keys of `prototypes` that differ for this cohort")
    known_kinds: str | None = Field(
        default=None,
        description="CSV file of known kinds of tissue, for drawn or annotated cohorts: slide, x_lv0, y_lv0, side_lv0,"
        " kind; the report compares prototypes with them, nothing else uses it",
    )

    @model_validator(mode="after")
    def has_slides(self) -> Self:
        """Slides come from a sheet or from other cohorts, which have settings of slides of their own."""
        if bool(self.sheet) == bool(self.of):
            raise ValueError(f"cohort {self.name} has {'both a sheet and' if self.of else 'neither a sheet nor'} `of`")
        if self.of and (self.masks or self.regions or self.known_kinds):
            raise ValueError(
                f"cohort {self.name}: masks, regions and known_kinds are those of the cohorts in `of`; set them there"
            )
        if len(set(self.of)) < len(self.of):
            raise ValueError(f"cohort {self.name}: a cohort is listed twice in `of`; list it once")
        return self

    @model_validator(mode="after")
    def masks_can_be_found(self) -> Self:
        """The pattern has a name of the slide in it and leads to a kind of mask that is read."""
        if self.masks is None:
            return self
        names = set(re.findall(r"\{([^{}]*)\}", self.masks))
        if not names or names - set(MASK_NAMES):
            raise ValueError(f"masks: {self.masks!r} needs {' or '.join(f'{{{name}}}' for name in MASK_NAMES)}")
        if not self.masks.lower().endswith(MASK_SUFFIXES):
            raise ValueError(f"masks: {self.masks!r} leads to no {', '.join(MASK_SUFFIXES)} file")
        return self


class PretrainedEncoder(Section):
    """A region encoder that is used as it is."""

    checkpoint: str | None = Field(
        description="weights file: safetensors, a state dict, or a checkpoint of HIPT or SLPD; null: missing, and"
        " tables say so"
    )
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the weights file")


class RandomWeights(Section):
    """The region encoder of `region_encoder` as training would begin with it."""

    seed: Seed = Field(description="seed of the weights; that of `training` gives those which training begins with")


class TrainedElsewhere(Section):
    """A region encoder of this experiment that is trained on one cohort and used on any."""

    cohort: Name
    variant: Name


class VectorFolder(Section):
    """Vectors that another program made, a file per slide."""

    folder: str = Field(
        description="folder of the files <slide>.h5 or <slide>.pt; {cohort} in it stands for the cohort's name"
    )
    key: str = Field(description="name of the vectors in a file: features (TRIDENT), feats (STAMP)")

    def of(self, cohort: str) -> str:
        """The folder for a cohort."""
        return self.folder.replace("{cohort}", cohort)


SECTIONS = ("objective", "prototypes", "slide_graph")  # that a variant may change
# Of region vectors, instead of an encoder trained on the cohort.
SOURCES = ("pretrained", "random", "token_mean", "patch_tokens", "encoder_of", "slide_vectors", "region_vectors")


class Variant(Section):
    """A row of an ablation: what differs from the sections of the config, or region vectors from elsewhere."""

    name: Name
    pretrained: PretrainedEncoder | None = Field(default=None, description="its region encoder; null: trained here")
    random: RandomWeights | None = Field(
        default=None, description="its region encoder is not trained at all; null: it is, or comes from elsewhere"
    )
    token_mean: bool = Field(
        default=False, description="region vectors are the means of a region's patch tokens; there is no region encoder"
    )
    patch_tokens: bool = Field(
        default=False,
        description="bags hold all patch tokens of a slide instead of a vector per region; there is no region encoder",
    )
    encoder_of: TrainedElsewhere | None = Field(
        default=None, description="its region encoder is the one that this variant has on this cohort; null: its own"
    )
    slide_vectors: VectorFolder | None = Field(
        default=None, description="one vector per slide, made elsewhere; null: the vectors are of regions"
    )
    region_vectors: VectorFolder | None = Field(
        default=None, description="bags of vectors made elsewhere; null: they are made here"
    )
    epochs_per_iteration: int | None = Field(
        default=None, gt=0, description="epochs between two renewals of the prototypes; null: as in `training`"
    )
    objective: Changes = Field(default={}, description="keys of `objective` that differ")
    prototypes: Changes = Field(default={}, description="keys of `prototypes` that differ")
    slide_graph: Changes = Field(default={}, description="keys of `slide_graph` that differ")

    @model_validator(mode="after")
    def has_one_source(self) -> Self:
        """Region vectors have one source, and a variant that is not trained has no settings of training."""
        sources = [key for key in SOURCES if getattr(self, key)]
        idle = [key for key in ("epochs_per_iteration", *SECTIONS) if getattr(self, key)]
        if len(sources) > 1:
            raise ValueError(f"{' and '.join(sources)} stand side by side; keep one")
        if sources and idle:
            raise ValueError(f"{sources[0]} stands beside {', '.join(idle)}, but it is not trained; remove one of them")
        return self

    @property
    def source(self) -> str:
        """Where its region vectors come from: the key that says so, or training."""
        return next((key for key in SOURCES if getattr(self, key)), "training")

    @property
    def trained(self) -> bool:
        """Whether an encoder is trained for it on every cohort that it is used on."""
        return self.source == "training"

    @property
    def vectors(self) -> VectorFolder | None:
        """The vectors made elsewhere that it consists of."""
        return self.slide_vectors or self.region_vectors

    @property
    def why_unavailable(self) -> str:
        """Why tables cannot have figures of it; empty: they can."""
        missing = self.pretrained is not None and self.pretrained.checkpoint is None
        return f"no weights: variants.{self.name}.pretrained.checkpoint is null" if missing else ""


class Experiment(Section):
    """Everything `config/config.yaml` holds."""

    experiment: Name
    preset: Preset = Field(description="whose definition holds where the paper and the released code differ")
    cohorts: list[Cohort] = Field(min_length=1)
    tissue: Tissue
    regions: Regions
    reading: Reading
    patch_encoder: PatchEncoderSettings
    manifest: Manifest
    jobs: Jobs
    region_encoder: RegionEncoder
    training: Training
    prototypes: Prototypes
    slide_graph: SlideGraph
    objective: Objective
    licence: str = Field(
        pattern="^[a-z0-9][a-z0-9.+-]*$",
        description="licence of exported region encoders, as the Hugging Face hub names it",
    )
    variants: list[Variant]
    tasks: list[Task]
    heads: list[AnyHead]
    head_presets: dict[Name, HeadPreset] = Field(description="how heads are trained, by name")
    intervals: Intervals
    tables: list[Table]
    predictions: list[PredictedCohort]
    subgroups: Subgroups
    robustness: Robustness
    report: Report

    @property
    def cohorts_of_slides(self) -> list[Cohort]:
        """The cohorts with a sheet; others are made of these."""
        return [cohort for cohort in self.cohorts if cohort.sheet]

    def regions_of(self, cohort: Cohort) -> Regions:
        """The grid of regions of a cohort; of one that is made of others, theirs, which are the same."""
        source = named(self.cohorts, cohort.of[0]) if cohort.of else cohort
        return changed(self.regions, source.regions, f"cohorts.{source.name}.regions")

    def objective_of(self, variant: Variant) -> Objective:
        """The loss of a variant; without prototype terms always the same, so that no edit of the others repeats it."""
        objective = changed(self.objective, variant.objective, f"variants.{variant.name}.objective")
        return objective if objective.needs_prototypes else PLAIN_DINO

    def variants_in(self, tasks: Collection[str]) -> list[Variant]:
        """The variants that some table shows in one of these tasks, in the order of the config."""
        wanted = {variant for table in self.tables if set(table.tasks) & set(tasks) for variant in table.variants}
        return [variant for variant in self.variants if variant.name in wanted]

    def tested_on(self, cohort: str) -> list[Variant]:
        """The variants by whose vectors of a cohort some table trains heads, in the order of the config."""
        return self.variants_in([task.name for task in self.tasks if task.cohort == cohort])

    def read_on(self, cohort: str) -> list[Variant]:
        """The same, and those whose heads are only tested on the cohort."""
        return self.variants_in([task.name for task in self.tasks if cohort in task.cohorts])

    def trained_on(self, cohort: str) -> list[Variant]:
        """The variants whose region encoder is trained on a cohort, even if for the tasks of another one.

        Of variants with the same training, the first of the config.
        """
        borrowed = (variant.encoder_of for user in self.cohorts for variant in self.read_on(user.name))
        wanted = {encoder.variant for encoder in borrowed if encoder and encoder.cohort == cohort}
        wanted |= {variant.name for variant in self.tested_on(cohort)}
        asked = [variant for variant in self.variants if variant.trained and variant.name in wanted]
        trained = {self.trained_as(cohort, variant).name for variant in asked}
        return [variant for variant in self.variants if variant.name in trained]

    def trained_as(self, cohort: str, variant: Variant) -> Variant:
        """The variant under whose name a variant's encoder is trained on a cohort: the first with the same training.

        Which tables there are does not matter, so that a new one repeats no training.
        """
        if not variant.trained:
            return variant
        of = named(self.cohorts, cohort)
        wanted = self.shaped_by(of, variant)
        return next(other for other in self.variants if other.trained and self.shaped_by(of, other) == wanted)

    def shaped_by(self, cohort: Cohort, variant: Variant) -> list[Changes | None]:
        """The settings in which trainings of variants may differ, by section; not checked as a whole.

        None: where no term needs prototypes, or a slide graph, a section has no effect.
        """
        objective = self.objective_of(variant)
        prototypes = {**self.prototypes.model_dump(), **cohort.prototypes, **variant.prototypes}
        slide_graph = {**self.slide_graph.model_dump(), **variant.slide_graph}
        return [
            objective.model_dump(),
            {"epochs_per_iteration": variant.epochs_per_iteration or self.training.epochs_per_iteration},
            prototypes if objective.needs_prototypes else None,
            slide_graph if objective.needs_graph else None,
        ]

    def reported_on(self, cohort: str) -> list[Variant]:
        """The variants with pages of prototypes, slide graph and attention: they have prototypes of each slide.

        A cohort that is made of others has none: its slides are shown with these.
        If `report` names a variant that is trained under another one's name, it has that one's pages.
        """
        shown = self.graphs_on(cohort) if named(self.cohorts, cohort).sheet else []
        if self.report.variants is None:
            return sorted(shown, key=lambda variant: -len(self.objective_of(variant).terms))[:1]
        asked = [variant for variant in self.variants if variant.name in self.report.variants and variant.trained]
        chosen = {self.trained_as(cohort, variant).name for variant in asked}
        return [variant for variant in shown if variant.name in chosen]

    def equals_of(self, cohort: str, variant: Variant) -> list[Variant]:
        """The other variants that are tested on a cohort by the encoder that is trained under a variant's name."""
        tested = [other for other in self.tested_on(cohort) if other.trained and other.name != variant.name]
        return [other for other in tested if self.trained_as(cohort, other).name == variant.name]

    def has_slide_prototypes(self, cohort: str, variant: Variant) -> bool:
        """Whether a variant trains with prototypes of each slide of a cohort."""
        entry = named(self.cohorts, cohort)
        return self.objective_of(variant).needs_prototypes and self.prototypes_of(entry, variant).level == "slide"

    def graphs_on(self, cohort: str) -> list[Variant]:
        """The variants with prototypes and a slide graph on a cohort: trained there, with prototypes of each slide."""
        return [variant for variant in self.trained_on(cohort) if self.has_slide_prototypes(cohort, variant)]

    def heads_on(self, task: str) -> list[AnyHead]:
        """The heads that some table evaluates on a task, in the order of the config."""
        wanted = {head for table in self.tables if task in table.tasks for head in table.heads}
        return [head for head in self.heads if head.name in wanted]

    def unavailable_in(self, table: Table) -> dict[str, str]:
        """Variant -> why a table cannot have figures of it."""
        reasons = {name: named(self.variants, name).why_unavailable for name in table.variants}
        return {name: why for name, why in reasons.items() if why}

    def evaluations_of(self, table: Table) -> list[tuple[Name, Name, Name]]:
        """Task, variant and head of every evaluation that a table shows and that can be made."""
        missing = self.unavailable_in(table)
        every = product(table.tasks, table.variants, table.heads)
        return [(task, variant, head) for task, variant, head in every if variant not in missing]

    def evaluations_on(self, task: str) -> list[tuple[Name, Name, Name]]:
        """Task, variant and head of every evaluation of a task that some table shows and that can be made."""
        every = dict.fromkeys(names for table in self.tables for names in self.evaluations_of(table))
        return [names for names in every if names[0] == task]

    def measured_on(self, task: str) -> list[Name]:
        """The variants whose vectors' robustness is measured on a task: those evaluated on it, if it has classes."""
        if not self.robustness.confounders or not isinstance(named(self.tasks, task), ClassTask):
            return []
        return list(dict.fromkeys(variant for _, variant, _ in self.evaluations_on(task)))

    def first_of_block(self, until: int) -> int:
        """The first iteration of the block that a job of `distill_slpd` trains, given where it ends.

        Iterations are counted from 0; blocks begin at every `jobs.iterations_per_job`th.
        """
        length = self.jobs.iterations_per_job or until
        return (until - 1) // length * length

    def preset_of(self, head: AnyHead) -> HeadPreset | None:
        """How a head is trained; None: it has nothing to train in steps."""
        return self.head_presets[head.preset] if isinstance(head, TrainedHead) else None

    def training_of(self, variant: Variant) -> Training:
        """The recipe of a variant; all variants share what the warm-up depends on."""
        changes = {"epochs_per_iteration": variant.epochs_per_iteration} if variant.epochs_per_iteration else {}
        return changed(self.training, changes, f"variants.{variant.name}")

    def slide_graph_of(self, variant: Variant) -> SlideGraph:
        """The slide graph of a variant."""
        return changed(self.slide_graph, variant.slide_graph, f"variants.{variant.name}.slide_graph")

    def prototypes_of(self, cohort: Cohort, variant: Variant) -> Prototypes:
        """The prototypes of a variant on a cohort; the variant's keys override the cohort's."""
        of_cohort = changed(self.prototypes, cohort.prototypes, f"cohorts.{cohort.name}.prototypes")
        return changed(of_cohort, variant.prototypes, f"variants.{variant.name}.prototypes")


AnySection = TypeVar("AnySection", bound=Section)


def changed(section: AnySection, changes: Changes, where: str) -> AnySection:
    """`section` with changed keys, checked as a whole; `where` names the entry in messages."""
    given = section.model_dump() | dict(changes)
    try:
        return type(section).model_validate(given)
    except ValidationError as error:
        raise UserError(first_fault(error, type(section), where, given)) from error


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
    for cohort in experiment.cohorts:
        for variant in experiment.trained_on(cohort.name):  # others may be meant for other cohorts
            check_level(experiment, cohort, variant)
    return experiment


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
    grid = region_px // patch_px
    for key in ("global_crop", "local_crop"):
        crop = getattr(experiment.training, key)
        if crop > grid:
            raise UserError(f"training.{key}: {crop} patches do not fit into a region of {grid} x {grid} patches")


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
    evaluated = {names for table in experiment.tables for names in experiment.evaluations_of(table)}
    if (wanted.task, wanted.variant, wanted.head) not in evaluated:
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
