"""Versions: the package's, that of every stage's results, and those of the packages that decide a training.

A stage's result version is raised, with a line in CHANGELOG.md, when a code change moves its results. The
workflow passes each number to its rule as a param, so an upgraded installation re-runs just the stages whose
numbers moved, and what depends on them. A change that moves results only as another GPU or driver would raises no
version where every cohort would have to be encoded again; CHANGELOG.md names it.
"""

import platform
from importlib.metadata import distributions

VERSION = "0.1.0"  # as in pyproject.toml

RESULT_VERSIONS: dict[str, int] = {
    "segment_tissue": 6,
    "tile_regions": 3,
    "picture_regions": 2,
    "check_cohort": 1,
    "encode_patches": 6,
    "import_tokens": 4,
    "cohort_manifest": 2,
    "join_cohorts": 1,
    "pretrain_dino": 5,
    "cluster_regions": 2,
    "link_slides": 4,
    "distill_slpd": 6,
    "collect_iterations": 1,
    "draw_encoder": 1,
    "embed_bags": 1,
    "export_encoder": 3,
    "attend_patches": 1,
    "map_prototypes": 1,
    "test_graph": 1,
    "pool_tokens": 1,
    "bag_patches": 1,
    "import_vectors": 1,
    "split_folds": 4,
    "evaluate": 15,
    "predict_slides": 1,
    "compare_subgroups": 2,
    "measure_robustness": 1,
    "make_table": 5,
    "make_report": 5,
}

TRAINED_WITH = {"faiss-cpu", "faiss-gpu", "numpy", "torch"}


def training_versions() -> dict[str, str]:
    """Name -> version of what trains an encoder here: this package, Python, and the packages that compute."""
    versions = {package.name: package.version for package in distributions() if package.name in TRAINED_WITH}
    return {"slpd": VERSION, "python": platform.python_version(), **dict(sorted(versions.items()))}
