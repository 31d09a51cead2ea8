"""Prototypes of a whole cohort: k-means of the regions of all slides, an ablation of SLPD's k-means per slide.

Every slide has the same prototypes, so that what trains on prototypes of slides trains on these unchanged; slides have
none of their own that could be linked.
"""

import numpy as np

from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.embeddings import CohortEmbeddings
from slpd.errors import UserError
from slpd.method.prototypes import cluster_cohort, cluster_slide
from slpd.settings.training import Prototypes


def find_prototypes(cohort: CohortEmbeddings, settings: Prototypes) -> CohortPrototypes:
    """The prototypes of a cohort at the configured level: of each slide, or of all together."""
    return cluster_cohort(cohort, settings) if settings.level == "slide" else cluster_whole_cohort(cohort, settings)


def cluster_whole_cohort(cohort: CohortEmbeddings, settings: Prototypes) -> CohortPrototypes:
    """The prototypes of a cohort: all slides are kept, each with the same M prototypes.

    Raises:
        UserError: the cohort has fewer regions than prototypes.
    """
    embeddings = np.asarray(cohort.of(settings.features))  # (R, D), needed whole
    if len(embeddings) < settings.n_prototypes:
        raise UserError(
            f"prototypes.n_prototypes is {settings.n_prototypes}, but the cohort has {len(embeddings)} regions;"
            " lower it"
        )
    prototypes, assignments = cluster_slide(embeddings, settings)  # (M, D), (R,)
    n_slides = len(cohort.slides)
    return CohortPrototypes(
        prototypes=np.broadcast_to(prototypes, (n_slides, *prototypes.shape)).copy(),
        features=settings.features,
        kept=np.ones(n_slides, bool),
        assignments=assignments,
        offsets=cohort.offsets,
        slides=cohort.slides,
    )
