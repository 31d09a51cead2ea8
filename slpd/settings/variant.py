"""Variants: what differs from the sections of the config, or region vectors from elsewhere."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from slpd.settings.section import Name, Section, Seed

Changes = Mapping[str, Any]  # keys of a section that an entry sets differently


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


SECTIONS = ("region_encoder", "training", "objective", "prototypes", "slide_graph")  # that a variant may change
DRAWN_OR_GIVEN = ("random", "pretrained")  # sources with a region encoder that is not trained: it may differ, too
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
    region_encoder: Changes = Field(
        default={}, description="keys of `region_encoder` that differ; variants that agree in them share a warm-up"
    )
    training: Changes = Field(
        default={}, description="keys of `training` that differ; variants that agree in them share a warm-up"
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
        if set(sources) & set(DRAWN_OR_GIVEN):
            idle = [key for key in idle if key != "region_encoder"]
        if len(sources) > 1:
            raise ValueError(f"{' and '.join(sources)} stand side by side; keep one")
        if sources and idle:
            raise ValueError(f"{sources[0]} stands beside {', '.join(idle)}, but it is not trained; remove one of them")
        if self.epochs_per_iteration and "epochs_per_iteration" in self.training:
            raise ValueError("epochs_per_iteration stands in the variant and in its training; remove one of them")
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
    def seeded(self) -> bool:
        """Whether its region encoder depends on the seed of pretraining."""
        return self.trained or self.encoder_of is not None

    @property
    def training_changes(self) -> Changes:
        """Keys of `training` in which it differs."""
        if self.epochs_per_iteration is None:
            return self.training
        return {**self.training, "epochs_per_iteration": self.epochs_per_iteration}

    def under_seed(self, seed: int) -> "Variant":
        """The same, trained with another seed, under a name of its own."""
        trained = {"training": {**self.training, "seed": seed}} if self.trained else {}
        of = self.encoder_of
        borrowed = {"encoder_of": of.model_copy(update={"variant": seed_name(of.variant, seed)})} if of else {}
        return self.model_copy(update={"name": seed_name(self.name, seed), **trained, **borrowed})

    @property
    def vectors(self) -> VectorFolder | None:
        """The vectors made elsewhere that it consists of."""
        return self.slide_vectors or self.region_vectors

    @property
    def why_unavailable(self) -> str:
        """Why tables cannot have figures of it; empty: they can."""
        missing = self.pretrained is not None and self.pretrained.checkpoint is None
        return f"no weights: variants.{self.name}.pretrained.checkpoint is null" if missing else ""


def seed_name(variant: str, seed: int) -> str:
    """The name of a variant that is repeated with a seed."""
    return f"{variant}.seed{seed}"
