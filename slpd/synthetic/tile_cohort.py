"""The tile cohort: which groups of tiles make which slide."""

from collections import Counter

from slpd.errors import UserError
from slpd.settings.synthetic import TileCohort
from slpd.synthetic.planned_slide import PlannedSlide
from slpd.synthetic.seeding import named_rng
from slpd.synthetic.tile_folder import TileGroup


def plan_tiles(settings: TileCohort, groups: list[TileGroup]) -> list[PlannedSlide]:
    """The slides of the cohort in order of id, one patient each; no group is in two slides.

    Raises:
        UserError: a label is not in the manifest, or has too few groups.
    """
    turns = [name for name in settings.classes for _ in range(settings.slides_per_class)]
    needed = sum((Counter(settings.classes[name]) for name in turns), Counter[str]())
    left = {label: shuffled_groups(settings, groups, label, n) for label, n in needed.items()}
    order = named_rng(settings.seed, "slides").permutation(turns).tolist()
    return [
        PlannedSlide(
            slide=f"M{number:03d}",
            patient=f"M{number:03d}",
            label=name,
            mpp=settings.mpp,
            groups=tuple(left[label].pop() for label, n in settings.classes[name].items() for _ in range(n)),
        )
        for number, name in enumerate(order, start=1)
    ]


def shuffled_groups(settings: TileCohort, groups: list[TileGroup], label: str, needed: int) -> list[str]:
    """Names of the groups of a label in random order, at least `needed`."""
    names = [group.name for group in groups if group.label == label]
    where = f"{settings.folder}/manifest.csv"
    if not names:
        there = ", ".join(sorted({group.label for group in groups})) or "none"
        raise UserError(f"{where}: no tile with label {label!r}, which the config names; labels there: {there}")
    if len(names) < needed:
        raise UserError(
            f"{where}: label {label} has {len(names)} groups, {needed} are needed; lower slides_per_class or the"
            " groups per slide in the config, or add tiles"
        )
    shuffled: list[str] = named_rng(settings.seed, "groups", label).permutation(names).tolist()
    return shuffled
