"""A control: prototypes as they are, but given to the wrong regions and linked to the wrong slides.

If the prototype terms help because their targets follow the structure of slides, they do not help here.
"""

from dataclasses import replace
from itertools import count, pairwise

import numpy as np

from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.embeddings import CohortEmbeddings
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays
from slpd.training.renewal import Renew, Renewal


def shuffled(renew: Renew, seed: int) -> Renew:
    """`renew`, and then all targets shuffled, again in every iteration."""
    iterations = count(1)

    def renew_and_shuffle(embeddings: CohortEmbeddings) -> Renewal:
        renewal, rng = renew(embeddings), np.random.default_rng([seed, next(iterations)])
        prototypes = shuffle_assignments(renewal.prototypes, rng)
        return Renewal(prototypes, renewal.graph and shuffle_links(renewal.graph, rng))

    return renew_and_shuffle


def shuffle_assignments(content: CohortPrototypes, rng: np.random.Generator) -> CohortPrototypes:
    """Shuffle each slide's assignments among its regions."""
    dealt = [rng.permutation(content.assignments[start:stop]) for start, stop in pairwise(content.offsets)]
    return replace(content, assignments=np.concatenate(dealt))


def shuffle_links(links: SlideGraphArrays, rng: np.random.Generator) -> SlideGraphArrays:
    """Link every slide to any other one."""
    ring = rng.permutation(len(links.slides))
    neighbours = np.empty_like(links.neighbours)
    for rank in range(neighbours.shape[1]):
        neighbours[ring, rank] = np.roll(ring, rank + 1)
    return replace(links, neighbours=neighbours)
