"""The mechanism benchmark: its cohort holds what it says, its intervals are right, and it runs from end to end."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.diagnostics import (
    chance_agreement,
    effective_rank,
    link_agreement,
    neighbour_agreement,
    prototype_agreement,
    variance_shares,
)
from benchmarks.intervals import paired_difference
from benchmarks.phenotype_cohort import (
    Nuisances,
    Slide,
    draw_cohort,
    phenotype_bags,
    single_region_auc,
    token_bags,
)
from slpd.artifacts.learned.cohort_prototypes import CohortPrototypes
from slpd.artifacts.learned.slide_graph_file import SlideGraphArrays

pytestmark = pytest.mark.torch

ROOT = Path(__file__).parents[1]
CLEAN = Nuisances(variation=0, stain=0, shift=0, noise=0)


@pytest.fixture(scope="module")
def slides() -> list[Slide]:
    return draw_cohort(7, 128, Nuisances())


def test_a_seed_is_a_cohort() -> None:
    first, again, other = (draw_cohort(seed, 8, Nuisances()) for seed in (3, 3, 4))
    assert all(np.array_equal(a.tokens, b.tokens) and a.label == b.label for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].tokens[:20], other[0].tokens[:20])


def test_every_phenotype_is_shown_by_as_many_slides_of_either_class(slides: list[Slide]) -> None:
    shown = {label: [k for s in slides if s.label == label for k in s.phenotypes] for label in "ab"}
    assert np.array_equal(np.bincount(shown["a"]), np.bincount(shown["b"]))
    assert np.bincount(shown["a"]).tolist() == [32] * 6
    assert all(set(slide.regions) <= set(slide.phenotypes) for slide in slides)


def test_the_class_is_in_the_composition_and_hardly_in_a_region(slides: list[Slide]) -> None:
    def auc(vectors: list[np.ndarray]) -> float:
        classes = [slide.label for slide in slides]
        return float(cross_val_score(KNeighborsClassifier(5), np.stack(vectors), classes, scoring="roc_auc").mean())

    assert auc([bag.mean(axis=0) for bag in phenotype_bags(slides).values()]) > 0.99
    assert 0.5 < auc([bag.mean(axis=0) for bag in token_bags(slides).values()]) < 0.9
    # 0.5 + 0.15 * (1 - 0.25**2); 3,000 regions have a standard error of about 0.01
    assert single_region_auc(slides) == pytest.approx(0.64, abs=0.03)


def test_without_nuisances_a_region_is_half_of_one_kind_and_a_quarter_each_of_two() -> None:
    slides = draw_cohort(1, 8, CLEAN)
    seen = {}
    for slide in slides:
        for phenotype, tokens in zip(slide.regions, slide.tokens, strict=True):
            kinds, counts = np.unique(tokens, axis=0, return_counts=True)
            assert sorted(counts.tolist()) in ([12, 12, 25], [12, 13, 24])
            seen.setdefault(int(phenotype), []).append(kinds)
    assert all(np.array_equal(kinds, of_phenotype[0]) for of_phenotype in seen.values() for kinds in of_phenotype)
    assert len(np.unique(np.concatenate([of_phenotype[0] for of_phenotype in seen.values()]), axis=0)) == 6


def test_paired_interval_is_that_of_the_paired_t_test() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 8))
    expected = ttest_rel(first, second).confidence_interval(0.95)
    found = paired_difference(first, second)
    assert found == pytest.approx(((first - second).mean(), expected.low, expected.high))


def perfect(slides: list[Slide]) -> tuple[CohortPrototypes, SlideGraphArrays]:
    """Clusters that are the phenotypes, and for every slide another one that shows the same."""
    n, counts = len(slides), [len(slide.regions) for slide in slides]
    clusters = np.concatenate([np.searchsorted(sorted(s.phenotypes), s.regions) for s in slides]).astype(np.int16)
    same = [
        [t for t in range(n) if t != s and set(slides[t].phenotypes) == set(slides[s].phenotypes)] for s in range(n)
    ]
    neighbours = np.array([others[:1] for others in same], np.int32)
    correspondence = np.tile(np.arange(3, dtype=np.int32), (n, 1, 1))
    names, offsets = [slide.name for slide in slides], np.concatenate([[0], np.cumsum(counts)])
    prototypes = CohortPrototypes(
        np.zeros((n, 3, 1), np.float32), "bottleneck", np.ones(n, bool), clusters, offsets, names
    )
    return prototypes, SlideGraphArrays(neighbours, np.zeros((n, 1), np.float32), correspondence, names)


def test_diagnostics_of_a_perfect_method(slides: list[Slide]) -> None:
    prototypes, graph = perfect(slides)
    assert prototype_agreement(prototypes, slides) == pytest.approx(1)
    assert neighbour_agreement(graph, slides) == 1
    assert link_agreement(prototypes, graph, slides) == 1
    assert chance_agreement(slides) == pytest.approx(15 / 127)  # of 127 others, 15 are of the same type
    assert variance_shares(phenotype_bags(slides), slides) == pytest.approx({"phenotype": 1, "slide": 0, "region": 0})


def test_diagnostics_of_chance(slides: list[Slide]) -> None:
    rng = np.random.default_rng(0)
    prototypes, graph = perfect(slides)
    rng.shuffle(prototypes.assignments)
    rng.shuffle(graph.neighbours)
    assert abs(prototype_agreement(prototypes, slides)) < 0.03
    assert neighbour_agreement(graph, slides) < 0.25
    noise = {slide.name: rng.normal(size=(len(slide.regions), 4)).astype(np.float32) for slide in slides}
    shares = variance_shares(noise, slides)
    assert shares["phenotype"] < 0.01
    assert shares["region"] == pytest.approx(1 - 3 * len(slides) / sum(map(len, noise.values())), abs=0.03)
    assert effective_rank(noise) == pytest.approx(4, abs=0.05)


def test_from_end_to_end() -> None:
    """A run of seconds; its last line holds what its other lines say."""
    changes = {
        "region_encoder": {"width": 8, "heads": 2, "depth": 1, "head_width": 8, "bottleneck": 4, "outputs": 8},
        "training": {"epochs": 2, "dino_epochs": 1, "learning_rate_warmup_epochs": 1, "n_local_views": 1},
        "tasks": [
            {
                "name": "class",
                "cohort": "planted",
                "label": "label",
                "classes": ["a", "b"],
                "folds": {"kind": "generated", "n_folds": 2, "validation_fraction": 0.1, "seed": 0},
            }
        ],
        "heads": [{"name": "knn", "kind": "knn", "k": 3}],
    }
    command = [sys.executable, "-m", "benchmarks.mechanism", "--seeds", "2", "--processes", "1", "--slides", "16"]
    run = subprocess.run(
        [*command, "--changes", json.dumps(changes)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    *lines, last = run.stdout.splitlines()
    found = json.loads(last)
    assert set(found["auc"]) == {"phenotypes", "tokens", "random", "dino", "intra", "inter", "slpd", "shuffled"}
    intra, dino = ([seed["variants"][name]["knn"] for seed in found["per_seed"]] for name in ("intra", "dino"))
    difference = found["differences"]["intra - dino"]["knn"]
    assert difference["mean"] == pytest.approx(np.subtract(intra, dino).mean())
    assert any(line.startswith("intra - dino") and f"{difference['mean']:+.3f}" in line for line in lines)
    assert found["settings"]["seeds"] == [0, 1]
