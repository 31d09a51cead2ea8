"""Whether vectors follow the class or a confounder such as the site: robustness index and CRoMa, by `croma`.

Both compare, for each vector, its neighbours of the same class at other sites (SO) with those of other classes at the
same site (OS), never of the same patient. The robustness index is the share of SO among SO and OS of the k nearest
(PathoROB: Kömen et al., arXiv 2507.17845); CRoMa is the margin (d_OS - d_SO) / (d_OS + d_SO) of the mean cosine
distances to the m nearest of each kind (Grisi, van der Laak, Litjens, arXiv 2607.25497).

A site with one class has no OS and says nothing of either. So only slides that have m of each kind are looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from croma import RI, CRoMa
from croma.metrics.bootstrap import bootstrap_pooled_median
from numpy.typing import NDArray

from slpd.settings.evaluation import Intervals
from slpd.settings.robustness import Robustness

N_SHUFFLES = 5  # of vectors among slides; each has a margin for every vector, so few suffice


@dataclass(frozen=True)
class Marks:
    """What is known of n slides or vectors, as numbers."""

    labels: NDArray[np.int64]  # (n,) class
    sites: NDArray[np.int64]  # (n,) value of the confounder
    patients: NDArray[np.int64]  # (n,)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Marks":
        """Those of some, by place or choice."""
        return Marks(self.labels[chosen], self.sites[chosen], self.patients[chosen])

    @property
    def same_class_elsewhere(self) -> NDArray[np.bool_]:
        """(n, n) the other is of the same class, at another site, of another patient."""
        same_class, same_site = self.labels[:, None] == self.labels, self.sites[:, None] == self.sites
        return np.asarray(same_class & ~same_site & self.other_patient)

    @property
    def other_class_here(self) -> NDArray[np.bool_]:
        """(n, n) the other is of another class, at the same site, of another patient."""
        same_class, same_site = self.labels[:, None] == self.labels, self.sites[:, None] == self.sites
        return np.asarray(~same_class & same_site & self.other_patient)

    @property
    def other_patient(self) -> NDArray[np.bool_]:
        """(n, n)."""
        return np.asarray(self.patients[:, None] != self.patients)


@dataclass(frozen=True)
class RobustnessFigures:
    """What is measured of some vectors."""

    index: float  # 0 to 1; the share of SO among SO and OS
    index_by_chance: float  # of vectors that know neither class nor site
    k: int  # neighbours
    support: float  # share of vectors with SO or OS among their neighbours
    margin: float  # median of CRoMa, -1 to 1; above that by chance the class is nearer
    margin_by_chance: float
    low: float  # of its interval, a bootstrap over patients
    high: float
    tail: float  # mean of the lowest tenth
    site_nearer: float  # share of vectors with a margin of 0 or less


def scoreable(marks: Marks, m: int) -> NDArray[np.bool_]:
    """(n,) slides with m of each kind among the slides that have m of each kind."""
    kept = np.ones(len(marks.labels), bool)
    elsewhere, here = marks.same_class_elsewhere, marks.other_class_here
    while True:
        n_elsewhere, n_here = elsewhere[:, kept].sum(axis=1), here[:, kept].sum(axis=1)
        supported = kept & (n_elsewhere >= m) & (n_here >= m)
        if supported.sum() == kept.sum():
            return kept
        kept = supported


def index_by_chance(marks: Marks, weights: NDArray[np.float64]) -> float:
    """The robustness index that neighbours drawn at random have.

    Args:
        marks: Of slides.
        weights: (n,) vectors of each slide.
    """
    others = marks.other_patient @ weights
    elsewhere = weights @ ((marks.same_class_elsewhere @ weights) / others)
    here = weights @ ((marks.other_class_here @ weights) / others)
    return float(elsewhere / (elsewhere + here))


def robustness(
    vectors: Sequence[NDArray[np.float32]], marks: Marks, settings: Robustness, intervals: Intervals
) -> RobustnessFigures:
    """Index and margin of the vectors of some slides, and what both would be by chance.

    Args:
        vectors: (n, D) of each slide.
        marks: Of each slide.
        settings: Numbers of neighbours, seed.
        intervals: Resamples of the patients, level, seed.

    Raises:
        RuntimeError: vectors coincide, so that no margin is defined.
    """
    sizes = [len(of_slide) for of_slide in vectors]
    owners = marks.where(np.repeat(np.arange(len(vectors)), sizes))
    all_vectors, table = np.concatenate(vectors), croma_table(owners)
    index = RI.compute(all_vectors, table, confounder_column="site", k_candidates=settings.neighbours)
    margin = CRoMa.compute(all_vectors, table, confounder_column="site", m=settings.margin_neighbours)
    interval = bootstrap_pooled_median(
        margin.sample_values_aligned,
        owners.patients,
        n_boot=intervals.n_resamples,
        level=intervals.level,
        seed=intervals.seed,
    )
    return RobustnessFigures(
        index=index.value,
        index_by_chance=index_by_chance(marks, np.array(sizes, np.float64)),
        k=index.k,
        support=index.support,
        margin=margin.value,
        margin_by_chance=margin_by_chance(vectors, table, settings),
        low=interval.lo,
        high=interval.hi,
        tail=margin.ltm_alpha,
        site_nearer=margin.f0,
    )


def margin_by_chance(vectors: Sequence[NDArray[np.float32]], table: pd.DataFrame, settings: Robustness) -> float:
    """The margin where slides have the vectors of others: the mean of some shuffles.

    It is above 0 where there are more slides of a class elsewhere than of other classes at a site, since the nearest of
    many are nearer. A slide keeps its number of vectors: it has as many of the other's, some twice if need be.
    """
    rng, margins = np.random.default_rng(settings.seed), []
    for _ in range(N_SHUFFLES):
        others = [vectors[slide] for slide in rng.permutation(len(vectors))]
        dealt = [np.resize(other, of_slide.shape) for of_slide, other in zip(vectors, others, strict=True)]
        margin = CRoMa.compute(np.concatenate(dealt), table, confounder_column="site", m=settings.margin_neighbours)
        margins.append(margin.value)
    return float(np.mean(margins))


def croma_table(marks: Marks) -> pd.DataFrame:
    """What croma asks of every vector."""
    table = pd.DataFrame({"label": marks.labels, "site": marks.sites, "group_id": marks.patients.astype(str)})
    return table.assign(sample_id=table.index, image_path="")
