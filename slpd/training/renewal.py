"""What an iteration trains towards: prototypes and slide graph, made of region embeddings."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.embeddings import CohortEmbeddings
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays
from slpd.method.global_prototypes import find_prototypes
from slpd.method.prototype_targets import region_targets
from slpd.method.slide_graph import link_cohort
from slpd.settings.training import Objective, Prototypes, SlideGraph
from slpd.training.batches import PrototypeTargets


@dataclass(frozen=True)
class Renewal:
    """What an iteration trains towards."""

    prototypes: CohortPrototypes
    graph: SlideGraphArrays | None  # None: no term of the objective needs one


Renew = Callable[[CohortEmbeddings], Renewal]


def renewing(prototypes: Prototypes, slide_graph: SlideGraph | None) -> Renew:
    """How a variant renews: what `cluster_regions` does, and `link_slides` where its objective needs it."""

    def renew(embeddings: CohortEmbeddings) -> Renewal:
        of_cohort = find_prototypes(embeddings, prototypes)
        return Renewal(of_cohort, link_cohort(of_cohort, slide_graph) if slide_graph else None)

    return renew


def targets_of(renewal: Renewal, objective: Objective, device: torch.device) -> PrototypeTargets:
    """The prototypes that the objective's terms pull regions to."""
    targets = region_targets(objective, renewal.prototypes, renewal.graph)
    vectors = {term: torch.from_numpy(of_term.vectors).to(device) for term, of_term in targets.items()}
    rows = {term: of_term.rows for term, of_term in targets.items()}
    return PrototypeTargets(vectors, rows, renewal.prototypes.features)
