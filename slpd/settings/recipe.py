"""How slides became region vectors, and what a region encoder was trained with, as variant and cohort have it."""

from typing import Any, Self

from slpd.settings.experiment import Cohort, Experiment
from slpd.settings.section import Name, Section
from slpd.settings.slides import PatchEncoderSettings, Reading, Regions, Tissue
from slpd.settings.training import Objective, Prototypes, RegionEncoder, SlideGraph, Training
from slpd.settings.variant import Variant


class EncodedSlides(Section):
    """How slides of a cohort came to a region encoder, and which that is: what all recipes have."""

    experiment: Name
    cohort: Name
    variant: Name
    tissue: Tissue
    regions: Regions
    reading: Reading
    min_sharpness: float  # of `manifest`
    patch_encoder: PatchEncoderSettings
    region_encoder: RegionEncoder

    @staticmethod
    def settings_of(experiment: Experiment, cohort: Cohort, variant: Variant) -> dict[str, Any]:
        """The values of these, by name."""
        return {
            "experiment": experiment.experiment,
            "cohort": cohort.name,
            "variant": variant.name,
            "tissue": experiment.tissue,
            "regions": experiment.regions_of(cohort),
            "reading": experiment.reading,
            "min_sharpness": experiment.manifest.min_sharpness,
            "patch_encoder": experiment.patch_encoder,
            "region_encoder": experiment.region_encoder_of(variant),
        }


class VectorRecipe(EncodedSlides):
    """All settings by which slides of a cohort became region vectors of a variant, besides the encoder's weights."""

    source: str  # of the vectors: "training", or a key of the variant

    @classmethod
    def of(cls, experiment: Experiment, cohort: Cohort, variant: Variant) -> Self:
        """The recipe of a variant on a cohort."""
        return cls(**cls.settings_of(experiment, cohort, variant), source=variant.source)


class Recipe(EncodedSlides):
    """All settings that shaped a variant's region encoder on a cohort."""

    training: Training
    objective: Objective
    prototypes: Prototypes | None  # None: no term of the objective needs them
    slide_graph: SlideGraph | None  # None: no term needs one

    @classmethod
    def of(cls, experiment: Experiment, cohort: Cohort, variant: Variant) -> Self:
        """The recipe of a variant on a cohort."""
        objective = experiment.objective_of(variant)
        return cls(
            **cls.settings_of(experiment, cohort, variant),
            training=experiment.training_of(variant),
            objective=objective,
            prototypes=experiment.prototypes_of(cohort, variant) if objective.needs_prototypes else None,
            slide_graph=experiment.slide_graph_of(variant) if objective.needs_graph else None,
        )
