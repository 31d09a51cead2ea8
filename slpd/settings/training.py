"""Settings of pretraining: region encoder, training recipe, prototypes, slide graph, objective."""

import math
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, model_validator

from slpd.settings.section import Fraction, Section, Seed

Features = Literal["bottleneck", "region_vector"]


class RegionEncoder(Section):
    """ViT_4096-256 and its projection head."""

    width: int = Field(gt=0, description="width of the transformer and length of a region vector")
    depth: int = Field(gt=0, description="transformer blocks")
    heads: int = Field(gt=0, description="attention heads; divides width")
    drop_path: float = Field(ge=0, lt=1, description="largest stochastic-depth rate, student only")
    position_grid: int = Field(gt=0, description="side of the position table, patches")
    head_width: int = Field(gt=0, description="hidden width of the projection head")
    bottleneck: int = Field(gt=0, description="length of the vectors that are clustered")
    outputs: int = Field(gt=1, description="outputs of the last layer")

    @model_validator(mode="after")
    def heads_divide_width(self) -> Self:
        """Every head gets the same share of the width."""
        if self.width % self.heads:
            raise ValueError(f"width is {self.width}, heads {self.heads}: heads must divide width")
        return self


class Training(Section):
    """The recipe shared by `pretrain_dino` and `distill_slpd`: one schedule runs through both."""

    epochs: int = Field(gt=0, description="epochs in all")
    dino_epochs: int = Field(gt=0, description="epochs of plain DINO before the first prototypes")
    epochs_per_iteration: int = Field(gt=0, description="epochs between two renewals of the prototypes")
    batch_size: int = Field(gt=0, description="regions per step, over all processes")
    learning_rate: float = Field(gt=0, description="peak learning rate at a batch of 256; scaled by batch / 256")
    final_learning_rate: float = Field(ge=0, description="learning rate at the end of the cosine")
    learning_rate_warmup_epochs: int = Field(ge=0, description="epochs of linear learning-rate warm-up")
    weight_decay: float = Field(ge=0, description="weight decay at the start of its cosine")
    final_weight_decay: float = Field(ge=0, description="weight decay at the end of its cosine")
    clip_norm: float = Field(gt=0, description="largest gradient norm of each parameter tensor")
    freeze_last_layer_epochs: int = Field(ge=0, description="epochs in which the last layer is not trained")
    teacher_momentum: Fraction = Field(description="EMA momentum of the teacher at the start; 1 at the end")
    student_temperature: float = Field(gt=0, description="temperature of the student's softmax")
    teacher_temperature: float = Field(gt=0, description="temperature of the teacher's softmax")
    centre_momentum: Fraction = Field(description="EMA momentum of the centres")
    global_crop: int = Field(gt=0, description="side of the two global views, patches")
    local_crop: int = Field(gt=0, description="side of the local views, patches")
    n_local_views: int = Field(ge=0, description="local views per region")
    seed: Seed = Field(description="seed of weights, shuffling, crops and stochastic depth")

    @model_validator(mode="after")
    def warmup_fits(self) -> Self:
        """The learning rate falls again after its warm-up."""
        if self.learning_rate_warmup_epochs >= self.epochs:
            raise ValueError(
                f"learning_rate_warmup_epochs is {self.learning_rate_warmup_epochs}, epochs {self.epochs}:"
                " warm up for fewer epochs than there are"
            )
        return self

    @model_validator(mode="after")
    def schedule_has_both_parts(self) -> Self:
        """Some epochs are left for the prototypes."""
        if self.epochs <= self.dino_epochs:
            raise ValueError(
                f"epochs - dino_epochs is {self.epochs - self.dino_epochs}; leave epochs for the prototypes, or lower"
                " dino_epochs"
            )
        return self

    @property
    def n_iterations(self) -> int:
        """Renewals of the prototypes; the last iteration may be shorter than the others."""
        return math.ceil((self.epochs - self.dino_epochs) / self.epochs_per_iteration)

    def epochs_of(self, iteration: int) -> range:
        """The epochs of an iteration; both are counted from 0, epochs over the whole schedule."""
        first = self.dino_epochs + iteration * self.epochs_per_iteration
        return range(first, min(first + self.epochs_per_iteration, self.epochs))


class Prototypes(Section):
    """`cluster_regions`: k-means of the regions of each slide, or of all."""

    level: Literal["slide", "cohort"] = Field(
        default="slide",
        description="what is clustered at a time: a slide's regions (the method), or all of the cohort's (an ablation)",
    )

    n_prototypes: int = Field(gt=0, lt=2**15, description="prototypes per slide, or of the cohort (M)")
    min_regions: int = Field(gt=0, description="slides with fewer regions get no prototypes; at least M")
    features: Features = Field(
        description="what is clustered; bottleneck: the head's unit vectors (released); region_vector: the encoder's"
    )
    kmeans_iterations: int = Field(gt=0, description="iterations of one k-means run")
    kmeans_restarts: int = Field(gt=0, description="k-means runs, of which the best is kept")
    seed: Seed = Field(description="seed of the initial centroids")

    @model_validator(mode="after")
    def enough_regions(self) -> Self:
        """k-means needs at least as many points as centroids."""
        if self.level == "slide" and self.min_regions < self.n_prototypes:
            raise ValueError(
                f"min_regions is {self.min_regions}, n_prototypes {self.n_prototypes}:"
                " raise min_regions to at least n_prototypes"
            )
        return self


class SlideGraph(Section):
    """`link_slides`: similar slides and how their prototypes correspond."""

    n_neighbours: int = Field(gt=0, description="most similar slides each slide is linked to")
    correspondence: Literal["matching", "nearest"] = Field(
        description="matching: optimal one-to-one (paper's figure); nearest: each prototype's nearest (released code)"
    )


@dataclass(frozen=True)
class Term:
    """A term of the loss: a pull of the student's views of a region to targets.

    `slpd/method/prototype_targets.py` gives the targets of a term that needs prototypes; those of a term that needs
    nothing are the teacher's views of the region.
    """

    name: str  # column of the metrics
    symbol: str
    weight_key: str | None  # of `objective`; None: its weight is 1
    needs: Literal["nothing", "prototypes", "slide graph"]  # a slide graph is made of prototypes


SELF = Term("self_distillation", "L_self", None, "nothing")
INTRA = Term("intra", "L_intra", "intra", "prototypes")
INTER = Term("inter", "L_inter", "inter", "slide graph")
TERMS = (SELF, INTRA, INTER)


class Objective(Section):
    """`distill_slpd`: the loss of a variant, the sum of all terms by weight."""

    intra: float = Field(ge=0, description="weight of the intra-slide term (paper: alpha1)")
    inter: float = Field(ge=0, description="weight of the inter-slide term (paper: alpha2)")
    prototype_views: Literal["all", "released"] = Field(
        description="student views that get prototype targets; released: target i skips view i"
    )
    prototype_centre: Literal["own", "shared"] = Field(
        description="own: prototype targets have their own centre (released code); shared: that of L_self"
    )

    def weight(self, term: Term) -> float:
        """The weight of a term in the loss."""
        return getattr(self, term.weight_key) if term.weight_key else 1.0

    @property
    def terms(self) -> tuple[Term, ...]:
        """The terms with a weight above 0."""
        return tuple(term for term in TERMS if self.weight(term))

    @property
    def needs_prototypes(self) -> bool:
        """Whether a term pulls regions to prototypes."""
        return any(term.needs != "nothing" for term in self.terms)

    @property
    def needs_graph(self) -> bool:
        """Whether a term pulls regions to prototypes of similar slides."""
        return any(term.needs == "slide graph" for term in self.terms)

    def skips_same_view(self, term: Term) -> bool:
        """Whether target i of a term skips view i, which the teacher's view i is the same as."""
        return term.needs == "nothing" or self.prototype_views == "released"

    def has_own_centre(self, term: Term) -> bool:
        """Whether the targets of a term meet the centre of prototypes, not that of L_self."""
        return term.needs != "nothing" and self.prototype_centre == "own"


PLAIN_DINO = Objective(intra=0, inter=0, prototype_views="all", prototype_centre="own")  # without terms, none is read
