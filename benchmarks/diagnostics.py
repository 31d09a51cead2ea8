"""What prototypes, slide graph and region vectors hold, measured against the planted phenotypes.

Slides are in the same order in all arguments: that of their names.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_mutual_info_score

from benchmarks.phenotype_cohort import N_PHENOTYPES, Bags, Slide
from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays


def prototype_agreement(prototypes: CohortPrototypes, slides: Sequence[Slide]) -> float:
    """Adjusted mutual information of clusters and phenotypes within a slide, mean over slides; 0: chance, 1: equal."""
    pairs = zip(slides, clusters_of(prototypes), strict=True)
    return float(np.mean([adjusted_mutual_info_score(slide.regions, clusters) for slide, clusters in pairs]))


def neighbour_agreement(graph: SlideGraphArrays, slides: Sequence[Slide]) -> float:
    """Share of nearest slides that show the same phenotypes as their slide."""
    return float(same_phenotypes(slides)[np.arange(len(slides)), graph.neighbours[:, 0]].mean())


def chance_agreement(slides: Sequence[Slide]) -> float:
    """What `neighbour_agreement` is for neighbours drawn at random."""
    n = len(slides)
    return float((same_phenotypes(slides).sum() - n) / (n * (n - 1)))


def same_phenotypes(slides: Sequence[Slide]) -> NDArray[np.bool_]:
    """(S, S) whether two slides show the same phenotypes."""
    shown = np.array([sorted(slide.phenotypes) for slide in slides])
    return np.asarray((shown[:, None] == shown).all(axis=2))


def link_agreement(prototypes: CohortPrototypes, graph: SlideGraphArrays, slides: Sequence[Slide]) -> float:
    """Share of regions whose inter-slide target is a prototype that mostly holds regions of their phenotype."""
    pairs, n_clusters = list(zip(slides, clusters_of(prototypes), strict=True)), graph.correspondence.shape[2]
    main = [majorities(slide.regions, clusters, n_clusters) for slide, clusters in pairs]
    agree = [
        main[graph.neighbours[s, 0]][graph.correspondence[s, 0][clusters]] == slide.regions
        for s, (slide, clusters) in enumerate(pairs)
    ]
    return float(np.concatenate(agree).mean())


def clusters_of(prototypes: CohortPrototypes) -> list[NDArray[np.int16]]:
    """The assignments of each slide's regions."""
    return [prototypes.assignments[start:stop] for start, stop in pairwise(prototypes.offsets)]


def majorities(phenotypes: NDArray[np.int64], clusters: NDArray[np.int16], n_clusters: int) -> NDArray[np.int64]:
    """(n_clusters,) the phenotype most frequent in each cluster; -1 for one without regions."""
    counts = np.zeros((n_clusters, N_PHENOTYPES), np.int64)
    np.add.at(counts, (clusters, phenotypes), 1)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), -1)


def variance_shares(bags: Bags, slides: Sequence[Slide]) -> dict[str, float]:
    """Where the variance of region vectors lies; the shares sum to 1.

    Returns:
        phenotype: between the means of phenotypes. slide: between slides, within a phenotype.
        region: between the regions of one phenotype in one slide.
    """
    vectors = np.concatenate([bags[slide.name] for slide in slides]).astype(np.float64)  # (R, D)
    phenotype = np.concatenate([slide.regions for slide in slides])
    slide = np.repeat(np.arange(len(slides)), [len(slide.regions) for slide in slides])
    of_all = vectors.mean(axis=0)
    of_phenotype, of_both = group_means(vectors, phenotype), group_means(vectors, slide * N_PHENOTYPES + phenotype)
    parts = {"phenotype": of_phenotype - of_all, "slide": of_both - of_phenotype, "region": vectors - of_both}
    return {name: float(np.square(part).sum() / np.square(vectors - of_all).sum()) for name, part in parts.items()}


def group_means(vectors: NDArray[np.float64], group: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R, D) for each row the mean of the rows of its group."""
    sums = np.zeros((group.max() + 1, vectors.shape[1]))
    np.add.at(sums, group, vectors)
    return np.asarray(sums[group] / np.bincount(group)[group, None])


def effective_rank(bags: Bags) -> float:
    """Exponential of the entropy of the variances along principal axes, as shares: 1 to D; low: collapsed."""
    vectors = np.concatenate(list(bags.values())).astype(np.float64)
    variances = np.linalg.eigvalsh(np.cov(vectors.T)).clip(min=0)
    shares = variances[variances > 0] / variances.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
