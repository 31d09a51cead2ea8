"""The whole config: sections, lists of cohorts, variants, tasks, heads and tables, and how they fit together."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from slpd.errors import UserError
from slpd.settings.evaluation import Head, Table, Task
from slpd.settings.jobs import Jobs
from slpd.settings.preset import Preset, with_preset
from slpd.settings.section import Name, Section, describe
from slpd.settings.slides import Manifest, PatchEncoder, Reading, Regions, Tissue
from slpd.settings.training import PLAIN_DINO, Objective, Prototypes, RegionEncoder, SlideGraph, Training

Changes = Mapping[str, Any]  # keys of a section that an entry sets differently


class Cohort(Section):
    """A set of slides that is pretrained on as one."""

    name: Name
    sheet: str = Field(description="CSV file: slide, path, patient, mpp and label columns")
    prototypes: Changes = Field(default={}, description="keys of `prototypes` that differ for this cohort")


class PretrainedEncoder(Section):
    """A region encoder that is used as it is."""

    checkpoint: str = Field(description="weights file: safetensors, a state dict, or a checkpoint of HIPT or SLPD")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the weights file")


class Variant(Section):
    """A row of an ablation: what differs from the sections of the config, or an encoder trained elsewhere."""

    name: Name
    pretrained: PretrainedEncoder | None = Field(default=None, description="its region encoder; null: trained here")
    objective: Changes = Field(default={}, description="keys of `objective` that differ")
    prototypes: Changes = Field(default={}, description="keys of `prototypes` that differ")
    slide_graph: Changes = Field(default={}, description="keys of `slide_graph` that differ")

    @model_validator(mode="after")
    def pretrained_is_not_trained(self) -> Self:
        """Settings of training have no effect on an encoder that is not trained."""
        idle = [key for key in ("objective", "prototypes", "slide_graph") if getattr(self, key)]
        if self.pretrained and idle:
            raise ValueError(f"pretrained stands beside {', '.join(idle)}, but it is not trained; remove one of them")
        return self


class Experiment(Section):
    """Everything `config/config.yaml` holds."""

    experiment: Name
    preset: Preset = Field(description="whose definition holds where the paper and the released code differ")
    cohorts: list[Cohort] = Field(min_length=1)
    tissue: Tissue
    regions: Regions
    reading: Reading
    patch_encoder: PatchEncoder
    manifest: Manifest
    jobs: Jobs
    region_encoder: RegionEncoder
    training: Training
    prototypes: Prototypes
    slide_graph: SlideGraph
    objective: Objective
    variants: list[Variant]
    tasks: list[Task]
    heads: list[Head]
    tables: list[Table]

    def objective_of(self, variant: Variant) -> Objective:
        """The loss of a variant; without prototype terms always the same, so that no edit of the others repeats it."""
        objective = changed(self.objective, variant.objective, f"variants.{variant.name}.objective")
        return objective if objective.intra or objective.inter else PLAIN_DINO

    def slide_graph_of(self, variant: Variant) -> SlideGraph:
        """The slide graph of a variant."""
        return changed(self.slide_graph, variant.slide_graph, f"variants.{variant.name}.slide_graph")

    def prototypes_of(self, cohort: Cohort, variant: Variant) -> Prototypes:
        """The prototypes of a variant on a cohort; the variant has the last word."""
        of_cohort = changed(self.prototypes, cohort.prototypes, f"cohorts.{cohort.name}.prototypes")
        return changed(of_cohort, variant.prototypes, f"variants.{variant.name}.prototypes")


AnySection = TypeVar("AnySection", bound=Section)


def changed(section: AnySection, changes: Changes, where: str) -> AnySection:
    """`section` with changed keys, checked as a whole; `where` names the entry in messages."""
    try:
        return type(section).model_validate(section.model_dump() | dict(changes))
    except ValidationError as error:
        raise UserError(describe(error, type(section), where)) from error


def load_experiment(config: Mapping[str, Any]) -> Experiment:
    """Check the merged config: keys, types, ranges, names that refer to each other.

    Raises:
        UserError: the first fault, with its key, its value and what was expected.
    """
    try:
        experiment = Experiment.model_validate(with_preset(config))
    except ValidationError as error:
        raise UserError(describe(error, Experiment, "config")) from error
    check_names(experiment)
    check_geometry(experiment)
    for variant in experiment.variants:
        experiment.objective_of(variant)
        experiment.slide_graph_of(variant)
        for cohort in experiment.cohorts:
            experiment.prototypes_of(cohort, variant)
    return experiment


class Named(Protocol):
    """An entry of a list of the config."""

    @property
    def name(self) -> str:
        """Its name."""


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
        )
    }
    for task in experiment.tasks:
        refer(f"tasks.{task.name}.cohort", [task.cohort], "cohorts", names["cohorts"])
    for table in experiment.tables:
        refer(f"tables.{table.name}.tasks", table.tasks, "tasks", names["tasks"])
        refer(f"tables.{table.name}.variants", table.variants, "variants", names["variants"])
        refer(f"tables.{table.name}.heads", table.heads, "heads", names["heads"])


def distinct(key: str, entries: Sequence[Named]) -> list[str]:
    """The names of a list's entries, none of them twice."""
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


def check_geometry(experiment: Experiment) -> None:
    """Patches tile a region, and crops fit into its grid."""
    region_px, patch_px = experiment.regions.region_px, experiment.patch_encoder.patch_px
    if region_px % patch_px:
        raise UserError(
            f"patch_encoder.patch_px: {patch_px} does not divide regions.region_px ({region_px});"
            " a region is a whole grid of patches"
        )
    grid = region_px // patch_px
    for key in ("global_crop", "local_crop"):
        crop = getattr(experiment.training, key)
        if crop > grid:
            raise UserError(f"training.{key}: {crop} patches do not fit into a region of {grid} x {grid} patches")
