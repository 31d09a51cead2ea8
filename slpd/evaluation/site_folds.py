"""Which fold tests which sites: classes spread as evenly as whole sites allow.

The objective is quadratic, as in preserved-site cross-validation (Howard et al., Nature Communications 12:4423, 2021):
the squared distance of every fold's slides of a class from an even share, summed over folds and classes. Here every
class counts by its share in the cohort, so that a rare one is spread as carefully as a frequent one, and all slides
together count as one class more. Howard et al. hand it to a solver of integer programs. Here sites are dealt out
greedily and then moved and exchanged until nothing improves, from several starts: no solver to license, the same folds
on every machine, and the optimum in the small cases in which a test lists all ways (`tests/test_site_folds.py`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.evaluation.folds import LabelledSlide
from slpd.evaluation.preserved_sites import blocks_of
from slpd.settings.evaluation import GeneratedFolds

N_STARTS = 32
LEAST_GAIN = 1e-12  # of a move; below it is rounding


def deal_sites(strata: Sequence[str], slides: Sequence[LabelledSlide], settings: GeneratedFolds) -> dict[str, int]:
    """Patient -> the fold that tests this patient's slides, no site in two folds.

    Args:
        strata: Class names; of a survival task, 0 (censored) and 1 (event seen).
        slides: The labelled slides, in an order that does not depend on the sheet's.
        settings: Number of folds, seed.
    """
    blocks = blocks_of(slides)
    fold_of_block = spread(shares_of(strata, blocks), settings.n_folds, np.random.default_rng(settings.seed))
    return {slide.patient: int(fold) for block, fold in zip(blocks, fold_of_block, strict=True) for slide in block}


def shares_of(strata: Sequence[str], blocks: Sequence[Sequence[LabelledSlide]]) -> NDArray[np.float64]:
    """(B, C + 1) the share that a block has of the slides of each class, and of all slides."""
    of_strata = [[sum(slide.stratum == stratum for slide in block) for stratum in strata] for block in blocks]
    counts = np.column_stack([np.array(of_strata), [len(block) for block in blocks]])
    return np.asarray(counts / np.maximum(counts.sum(axis=0), 1))


def spread(shares: NDArray[np.float64], n_folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(B,) the fold of each block: the best of several starts, of equal ones the first.

    Args:
        shares: (B, C) what each block has of each class; columns sum to 1.
        n_folds: Folds, at most B.
        rng: Draws the order in which blocks are dealt.
    """
    results = [improved(shares, dealt_greedily(shares, n_folds, rng), n_folds) for _ in range(N_STARTS)]
    return min(results, key=lambda folds: round(unevenness(shares, folds, n_folds), 12))


def unevenness(shares: NDArray[np.float64], folds: NDArray[np.int64], n_folds: int) -> float:
    """The objective: squared distances of folds from even shares, summed over folds and classes."""
    return float(((sums_of(shares, folds, n_folds) - 1 / n_folds) ** 2).sum())


def sums_of(shares: NDArray[np.float64], folds: NDArray[np.int64], n_folds: int) -> NDArray[np.float64]:
    """(K, C) what each fold has of each class."""
    return np.asarray(np.eye(n_folds)[folds].T @ shares)


def dealt_greedily(shares: NDArray[np.float64], n_folds: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(B,) folds after every block went where it raised the objective least, large ones first, with some chance."""
    order = np.argsort(-shares.sum(axis=1) * rng.uniform(0.5, 1.5, len(shares)), kind="stable")
    sums, folds = np.zeros((n_folds, shares.shape[1])), np.zeros(len(shares), np.int64)
    for block in order:
        folds[block] = (sums @ shares[block]).argmin()
        sums[folds[block]] += shares[block]
    return folds


def improved(shares: NDArray[np.float64], folds: NDArray[np.int64], n_folds: int) -> NDArray[np.int64]:
    """Folds after the best move or exchange of blocks, again and again until none lowers the objective."""
    folds = folds.copy()
    while True:
        sums = sums_of(shares, folds, n_folds)
        block, fold, move = best_move(shares, folds, sums)
        first, second, exchange = best_exchange(shares, folds, sums)
        if min(move, exchange) > -LEAST_GAIN:
            return folds
        if move <= exchange:
            folds[block] = fold
        else:
            folds[[first, second]] = folds[[second, first]]


def best_move(
    shares: NDArray[np.float64], folds: NDArray[np.int64], sums: NDArray[np.float64]
) -> tuple[int, int, float]:
    """Block, its new fold, and what that adds to the objective."""
    n_blocks = len(shares)
    across = shares @ sums.T  # (B, K)
    here = across[np.arange(n_blocks), folds]
    change = 2 * (across - here[:, None] + (shares**2).sum(axis=1)[:, None])
    change[np.arange(n_blocks), folds] = np.inf
    block, fold = np.unravel_index(change.argmin(), change.shape)
    return int(block), int(fold), float(change[block, fold])


def best_exchange(
    shares: NDArray[np.float64], folds: NDArray[np.int64], sums: NDArray[np.float64]
) -> tuple[int, int, float]:
    """Two blocks of different folds, and what their exchange adds to the objective."""
    across = sums[folds] @ shares.T  # (B, B): what the fold of the first has, times what the second has
    products = shares @ shares.T
    own, square = np.diag(across), np.diag(products)
    change = 2 * (across + across.T - own[:, None] - own + square[:, None] + square - 2 * products)
    change[folds[:, None] == folds] = np.inf
    first, second = np.unravel_index(change.argmin(), change.shape)
    return int(first), int(second), float(change[first, second])
