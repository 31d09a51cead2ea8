"""Settings of heads, and of how they are trained."""

from typing import Annotated, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from slpd.settings.section import Fraction, Name, Section, Seed, checked_json


class HeadPreset(Section):
    """How a head is trained."""

    optimiser: Literal["adam", "adamw"] = Field(
        description="adam: weight decay is an L2 term of the loss; adamw: it is decoupled"
    )
    learning_rate: float = Field(gt=0, description="constant learning rate")
    weight_decay: float = Field(ge=0, description="weight decay")
    epochs: int = Field(gt=0, description="most epochs")
    patience: int | None = Field(
        gt=0,
        description="epochs without a lower validation loss after which training stops and the best epoch is kept;"
        " null: the last epoch is kept",
    )
    batch_size: int = Field(gt=0, description="bags per step")
    balanced: bool = Field(
        description="draw with replacement, every class equally often; else, and in survival tasks, every bag once an"
        " epoch"
    )
    standardise: bool = Field(description="region vectors less the mean of the training regions, by their deviation")
    loss_divisor: float = Field(gt=0, description="the loss is divided by it before the gradient is taken")
    seed: Seed = Field(description="seed of weights, sampling and dropout")


class KnnHead(Section):
    """k nearest neighbours on the mean region vector of a slide."""

    kind: Literal["knn"]
    name: Name
    k: int = Field(gt=0, description="neighbours")
    metric: Literal["euclidean", "cosine"] = Field(default="euclidean", description="distance of mean vectors")
    weights: Literal["uniform", "distance"] = Field(default="uniform", description="weight of a neighbour")


Positive = Annotated[float, Field(gt=0)]
OneOrMany = Annotated[
    Annotated[Positive, Tag("one")] | Annotated[list[Positive], Tag("many"), Field(min_length=1)],
    Discriminator(lambda value: "many" if isinstance(value, list) else "one"),
]


class LogisticHead(Section):
    """Logistic regression on the mean region vector of a slide."""

    kind: Literal["logistic"]
    name: Name
    inverse_penalty: OneOrMany = Field(
        description="C of scikit-learn: smaller values shrink more; of several, each fold takes the one with the lowest"
        " loss of its validation cases"
    )
    balanced: bool = Field(description="give every class the same total weight; no effect in survival tasks")

    @property
    def grid(self) -> list[float]:
        """The penalties to choose from, the strongest first."""
        return sorted(self.inverse_penalty) if isinstance(self.inverse_penalty, list) else [self.inverse_penalty]


class TrainedHead(Section):
    """What every head with trained weights has."""

    name: Name
    preset: Name = Field(description="entry of `head_presets` to train it by")
    dropout: Fraction = Field(lt=1, description="dropout rate")


class AbmilHead(TrainedHead):
    """Attention-based multiple-instance learning (Ilse et al. 2018)."""

    kind: Literal["abmil"]
    gated: bool = Field(description="gated attention (eq. 9) instead of plain attention (eq. 8)")
    embedding: int = Field(gt=0, description="width of the instance embedding")
    attention: int = Field(gt=0, description="width of the attention network")


class MaxMilHead(TrainedHead):
    """Max-pooling multiple-instance learning: HIPT's `mil`."""

    kind: Literal["max_mil"]
    embedding: int = Field(gt=0, description="width of the instance embedding")


class SimlpHead(TrainedHead):
    """SiMLP: a multilayer perceptron on the mean vector (arXiv 2502.20823)."""

    kind: Literal["simlp"]
    embedding: int = Field(gt=0, description="width of the hidden layer")


class VitWsiHead(TrainedHead):
    """ViT_WSI-4096: a transformer over the regions of a slide, then gated attention; HIPT's `hipt_gp`."""

    kind: Literal["vit_wsi"]
    embedding: int = Field(gt=0, description="width of the transformer")
    depth: int = Field(gt=0, description="transformer layers")
    heads: int = Field(gt=0, description="attention heads; divides embedding")
    feedforward: int = Field(gt=0, description="hidden width of a layer's MLP")
    attention: int = Field(gt=0, description="width of the gated attention network")

    @model_validator(mode="after")
    def heads_divide_the_width(self) -> Self:
        """Every attention head gets the same share of the width."""
        if self.embedding % self.heads:
            raise ValueError(f"embedding is {self.embedding}, heads {self.heads}: heads must divide embedding")
        return self


AnyHead = Annotated[
    KnnHead | LogisticHead | AbmilHead | MaxMilHead | SimlpHead | VitWsiHead, Field(discriminator="kind")
]


def head_from_json(text: str) -> AnyHead:
    """The head from a rule's JSON param.

    Raises:
        UserError: a key is unknown, missing or out of range; the message names it.
    """
    (head,) = checked_json(list[AnyHead], f"[{text}]", "heads")
    return head  # type: ignore[no-any-return]
