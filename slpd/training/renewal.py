"""What an iteration trains towards: prototypes and slide graph, made of region embeddings."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from slpd.artifacts.embeddings import CohortEmbeddings
from slpd.artifacts.prototypes import CohortPrototypes
from slpd.artifacts.slide_graph import SlideGraphArrays
from slpd.method.global_prototypes import find_prototypes
from slpd.method.prototype_targets import inter_targets, intra_targets
from slpd.method.slide_graph import link_cohort
from slpd.settings.training import Objective, Prototypes, SlideGraph
from slpd.training.batches import PrototypeTargets


@dataclass(frozen=True)
class Renewal:
    """What an iteration trains towards."""

    prototypes: CohortPrototypes
    graph: SlideGraphArrays | None  # None: the objective has no inter-slide term


Renew = Callable[[CohortEmbeddings], Renewal]


def renewing(prototypes: Prototypes, slide_graph: SlideGraph | None) -> Renew:
    """How a variant renews: what `cluster_regions` does, and `link_slides` where its objective needs it."""

    def renew(embeddings: CohortEmbeddings) -> Renewal:
        content = find_prototypes(embeddings, prototypes)
        return Renewal(content, link_cohort(content, slide_graph) if slide_graph else None)

    return renew


def targets_of(renewal: Renewal, objective: Objective, device: torch.device) -> PrototypeTargets:
    """The prototypes that the objective's terms pull regions to."""
    content = renewal.prototypes
    return PrototypeTargets(
        torch.from_numpy(content.prototypes).flatten(0, 1).to(device),
        content.features,
        intra_targets(content) if objective.intra else None,
        inter_targets(content, renewal.graph) if renewal.graph else None,
    )
