"""The whole config: sections, lists of cohorts, variants, tasks, heads and tables, and how they fit together."""

import hashlib
import json
import re
from collections.abc import Collection
from functools import cached_property
from itertools import product
from typing import NamedTuple, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from slpd.errors import UserError
from slpd.settings.evaluation import (
    ClassTask,
    Intervals,
    PredictedCohort,
    Task,
)
from slpd.settings.heads import AnyHead, HeadPreset, TrainedHead
from slpd.settings.jobs import Jobs
from slpd.settings.preset import Preset
from slpd.settings.report import Report
from slpd.settings.robustness import Robustness
from slpd.settings.section import MASK_SUFFIXES, Name, Section, Seed, first_fault, named
from slpd.settings.slides import Manifest, PatchEncoderSettings, Reading, Regions, Tissue
from slpd.settings.subgroups import Subgroups
from slpd.settings.tables import Table
from slpd.settings.training import PLAIN_DINO, Objective, Prototypes, RegionEncoder, SlideGraph, Training
from slpd.settings.variant import Changes, Variant, seed_name

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


class Start(NamedTuple):
    """What a warm-up depends on besides the cohort: variants that agree in it share one."""

    training: Training  # with the config's epochs_per_iteration: the warm-up has no prototypes to renew
    region_encoder: RegionEncoder


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
    pretraining_seeds: list[Seed] = Field(
        description="seeds of `training` with which warm-up and distillation are repeated, that of `training` among"
        " them; empty: that one alone"
    )
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
    def further_seeds(self) -> list[int]:
        """The seeds of pretraining besides that of `training`."""
        return [seed for seed in self.pretraining_seeds if seed != self.training.seed]

    @cached_property
    def every_variant(self) -> list[Variant]:
        """The variants, and after them those whose encoders depend on the seed once more for every further seed."""
        seeded = [variant for variant in self.variants if variant.seeded]
        return [*self.variants, *(variant.under_seed(seed) for seed in self.further_seeds for variant in seeded)]

    def repeats_of(self, variant: str) -> list[Name]:
        """The names of a variant under every seed of pretraining, its own first; its own alone: it has no others."""
        further = self.further_seeds if named(self.variants, variant).seeded else []
        return [variant, *(seed_name(variant, seed) for seed in further)]

    def repeats_in(self, table: Table) -> dict[str, list[Name]]:
        """The same of all variants of a table."""
        return {variant: self.repeats_of(variant) for variant in table.variants}

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
        """The variants that some table shows in one of these tasks, under every seed, in the order of the config."""
        shown = {variant for table in self.tables if set(table.tasks) & set(tasks) for variant in table.variants}
        wanted = {name for variant in shown for name in self.repeats_of(variant)}
        return [variant for variant in self.every_variant if variant.name in wanted]

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
        asked = [variant for variant in self.every_variant if variant.trained and variant.name in wanted]
        trained = {self.trained_as(cohort, variant).name for variant in asked}
        return [variant for variant in self.every_variant if variant.name in trained]

    def trained_as(self, cohort: str, variant: Variant) -> Variant:
        """The variant under whose name a variant's encoder is trained on a cohort: the first with the same training.

        Which tables there are does not matter, so that a new one repeats no training.
        """
        return self.first_alike[cohort][variant.name] if variant.trained else variant

    @cached_property
    def first_alike(self) -> dict[Name, dict[Name, Variant]]:
        """Cohort -> trained variant -> the first with the same training."""
        found: dict[Name, dict[Name, Variant]] = {}
        for cohort in self.cohorts:
            firsts: dict[str, Variant] = {}
            found[cohort.name] = {
                variant.name: firsts.setdefault(json.dumps(self.shaped_by(cohort, variant), sort_keys=True), variant)
                for variant in self.every_variant
                if variant.trained
            }
        return found

    def shaped_by(self, cohort: Cohort, variant: Variant) -> list[Changes | None]:
        """The settings in which trainings of variants may differ, by section.

        None: where no term needs prototypes, or a slide graph, a section has no effect. Those of prototypes and graph
        are not checked as a whole: a variant may be meant for other cohorts.
        """
        objective = self.objective_of(variant)
        prototypes = {**self.prototypes.model_dump(), **cohort.prototypes, **variant.prototypes}
        slide_graph = {**self.slide_graph.model_dump(), **variant.slide_graph}
        return [
            objective.model_dump(),
            self.region_encoder_of(variant).model_dump(),
            self.training_of(variant).model_dump(),
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
        """Task, variant and head of every evaluation that a table is made of and that can be made."""
        made = [variant for variant in table.variants if variant not in self.unavailable_in(table)]
        repeats = [name for variant in made for name in self.repeats_of(variant)]
        return list(product(table.tasks, repeats, table.heads))

    def evaluations_on(self, task: str) -> list[tuple[Name, Name, Name]]:
        """Task, variant and head of every evaluation of a task that some table shows, with the seed of `training`."""
        every = dict.fromkeys(names for table in self.tables for names in self.evaluations_of(table))
        written = {variant.name for variant in self.variants}
        return [names for names in every if names[0] == task and names[1] in written]

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
        """The recipe of a variant."""
        return changed(self.training, variant.training_changes, f"variants.{variant.name}.training")

    def region_encoder_of(self, variant: Variant) -> RegionEncoder:
        """The region encoder of a variant; of one that borrows it, its lender's."""
        if variant.encoder_of:
            return self.region_encoder_of(named(self.every_variant, variant.encoder_of.variant))
        return changed(self.region_encoder, variant.region_encoder, f"variants.{variant.name}.region_encoder")

    def start_of(self, variant: Variant) -> Start:
        """What the warm-up of a variant depends on."""
        renewal = {"epochs_per_iteration": self.training.epochs_per_iteration}
        return Start(self.training_of(variant).model_copy(update=renewal), self.region_encoder_of(variant))

    @cached_property
    def warmups(self) -> dict[Name, str]:
        """Trained variant -> what the name of its warm-up's folder ends with.

        Nothing, if it starts as the sections of the config say; else the digest of the values in which it differs, and
        its seed if that is another.
        """
        return {variant.name: self.end_of(self.start_of(variant)) for variant in self.every_variant if variant.trained}

    def end_of(self, start: Start) -> str:
        """What the name of a warm-up's folder ends with."""
        differing = {
            f"{name}.{key}": value
            for name, section, own in zip(Start._fields, (self.training, self.region_encoder), start, strict=True)
            for key, value in own.model_dump().items()
            if value != getattr(section, key)
        }
        seed = differing.pop("training.seed", None)
        digest = hashlib.sha256(json.dumps(differing, sort_keys=True).encode()).hexdigest()[:8]
        return (f"_{digest}" if differing else "") + ("" if seed is None else f".seed{seed}")

    @cached_property
    def starts(self) -> dict[str, Start]:
        """What each warm-up depends on, by the end of its folder's name."""
        trained = [variant for variant in self.every_variant if variant.trained]
        return {self.warmups[variant.name]: self.start_of(variant) for variant in trained}

    def warmups_on(self, cohort: str) -> list[str]:
        """The ends of the names of the warm-ups that the variants trained on a cohort start from."""
        return list(dict.fromkeys(self.warmups[variant.name] for variant in self.trained_on(cohort)))

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
