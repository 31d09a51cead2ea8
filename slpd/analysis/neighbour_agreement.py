"""Whether neighbours in the slide graph agree in a property more often than by chance: a permutation test.

Slides of one patient resemble each other and agree in most properties, which would pass for biology. Pairs of the same
patient are therefore left out, and values move between patients: the slides of a patient keep their values together,
and exchange them with patients of equally many slides (whole-block exchangeability; Winkler et al. 2015). For the
property `patient` itself all pairs count, and values move between slides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from slpd.artifacts.learned.graph_test import GraphTest

PATIENT = "patient"
UNKNOWN = (float("nan"),) * 5


def agreement_tests(
    properties: Mapping[str, Sequence[str]], neighbours: NDArray[np.int32], n_permutations: int, seed: int
) -> list[GraphTest]:
    """The test of every property that can tell slides apart and is shared by some.

    Args:
        properties: Name -> value of each of the S slides; empty: unknown. `patient` is one of them.
        neighbours: (S, K) neighbours of each slide; -1: none.
        n_permutations: How often values are dealt out anew.
        seed: Of the permutations; with the name of a property it gives that property's own.
    """
    patients, pairs = codes(properties[PATIENT]), neighbour_pairs(neighbours)
    tests = [
        agreement_test(
            name, codes(values), patients, pairs, n_permutations, np.random.default_rng([seed, *name.encode()])
        )
        for name, values in properties.items()
        if 2 <= len(set(values) - {""}) < sum(map(bool, values))
    ]
    return with_adjusted(tests)


def agreement_test(
    name: str,
    values: NDArray[np.int64],
    patients: NDArray[np.int64],
    pairs: NDArray[np.int64],
    n_permutations: int,
    rng: np.random.Generator,
) -> GraphTest:
    """The test of one property, not adjusted for others.

    Args:
        name: Of the property.
        values: (S,) numbers of the slides' values; -1: unknown.
        patients: (S,) numbers of the slides' patients.
        pairs: (P, 2) slide and neighbour.
        n_permutations: How often values are dealt out anew.
        rng: Draws the permutations.
    """
    counted = (values[pairs] >= 0).all(axis=1)
    if name != PATIENT:
        counted &= patients[pairs[:, 0]] != patients[pairs[:, 1]]
    pairs = pairs[counted]
    slides = np.unique(pairs)
    found = GraphTest(name, len(slides), len(np.unique(values[slides])), len(pairs), *UNKNOWN, n_permutations)
    if not len(pairs):
        return found
    blocks = [slides[:, None]] if name == PATIENT else exchangeable(slides, patients)
    observed = n_agreeing(values, pairs)
    by_chance = np.array([n_agreeing(dealt(values, blocks, rng), pairs) for _ in range(n_permutations)])
    expected = float(by_chance.mean())
    p_value = (1 + int((by_chance >= observed).sum())) / (1 + n_permutations)  # Phipson & Smyth 2010
    return replace(
        found,
        observed=observed / len(pairs),
        expected=expected / len(pairs),
        ratio=observed / expected if expected else float("nan"),
        p_value=p_value,
    )


def neighbour_pairs(neighbours: NDArray[np.int32]) -> NDArray[np.int64]:
    """(P, 2) every slide with each of its neighbours."""
    slide, place = np.nonzero(neighbours >= 0)
    return np.stack([slide, neighbours[slide, place]], axis=1).astype(np.int64)


def codes(values: Sequence[str]) -> NDArray[np.int64]:
    """Values as numbers; -1: empty."""
    number = {value: place for place, value in enumerate(sorted(set(values) - {""}))}
    return np.array([number.get(value, -1) for value in values], np.int64)


def exchangeable(slides: NDArray[np.int64], patients: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Slides by patient, patients by their number of slides: for each number (patients, slides of each)."""
    by_patient: dict[int, list[int]] = {}
    for slide in slides.tolist():
        by_patient.setdefault(int(patients[slide]), []).append(slide)
    sizes = sorted({len(of_one) for of_one in by_patient.values()})
    return [np.array([of_one for of_one in by_patient.values() if len(of_one) == size]) for size in sizes]


def dealt(
    values: NDArray[np.int64], blocks: Sequence[NDArray[np.int64]], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Values (S,) after rows of each block have changed places at random."""
    moved = values.copy()
    for block in blocks:
        moved[block] = values[rng.permutation(block)]  # rows change places, their slides stay together
    return moved


def n_agreeing(values: NDArray[np.int64], pairs: NDArray[np.int64]) -> int:
    """How many pairs have the same value."""
    return int((values[pairs[:, 0]] == values[pairs[:, 1]]).sum())


def with_adjusted(tests: Sequence[GraphTest]) -> list[GraphTest]:
    """The tests with p-values adjusted for their number (Holm 1979); those without a p-value do not count."""
    order = sorted((test for test in tests if test.p_value == test.p_value), key=lambda test: test.p_value)
    adjusted, largest = {}, 0.0
    for place, test in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - place) * test.p_value))
        adjusted[test.column] = largest
    return [replace(test, p_adjusted=adjusted.get(test.column, float("nan"))) for test in tests]
