"""Result version of every stage: raised, with a line in CHANGELOG.md, when a code change moves its results.

The workflow passes each number to its rule as a param, so an upgraded installation re-runs just the
stages whose numbers moved, and what depends on them.
"""

RESULT_VERSIONS: dict[str, int] = {
    "segment_tissue": 1,
    "tile_regions": 1,
    "check_cohort": 1,
    "encode_patches": 1,
    "cohort_manifest": 1,
    "pretrain_dino": 1,
    "cluster_regions": 1,
    "link_slides": 1,
    "distill_slpd": 1,
    "embed_bags": 1,
    "split_folds": 2,
    "evaluate": 1,
    "make_table": 1,
    "plot_losses": 1,
    "plot_overlays": 1,
}
