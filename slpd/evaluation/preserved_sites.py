"""Sites that folds keep together: which slides belong together, what forbids such folds, what is worth a warning.

Slides of a site share stain, scanner and patients, and heads tell sites apart. A head that is tested on sites of its
training slides is therefore tested too kindly (Howard et al., Nature Communications 12:4423, 2021). Light: the workflow
checks the whole sheet at every start.
"""

from collections.abc import Sequence

from slpd.artifacts.evaluation.folds import Fold, LabelledSlide
from slpd.errors import UserError, first_of
from slpd.settings.evaluation import GeneratedFolds

NAMED = 3  # slides or sites named in a message

Block = list[LabelledSlide]  # slides of one fold's test set, whatever the fold


def blocks_of(slides: Sequence[LabelledSlide]) -> list[Block]:
    """The slides that folds may not part: those of a site, and of all sites that share a patient.

    Blocks and their slides are in the order of `slides`.
    """
    first: dict[tuple[str, str], int] = {}  # a site or patient -> the first slide that has it
    root = list(range(len(slides)))

    def root_of(number: int) -> int:
        while root[number] != number:
            number = root[number]
        return number

    for number, slide in enumerate(slides):
        for mark in (("site", slide.site), ("patient", slide.patient)):
            low, high = sorted((root_of(first.setdefault(mark, number)), root_of(number)))
            root[high] = low
    blocks: dict[int, Block] = {}
    for number, slide in enumerate(slides):
        blocks.setdefault(root_of(number), []).append(slide)
    return list(blocks.values())


def sites_text(block: Block) -> str:
    """The sites of a block."""
    sites = sorted({slide.site for slide in block})
    return f"site{'s' * (len(sites) > 1)} {first_of(sites, NAMED)}"


def check_sites(task: str, folds: GeneratedFolds, strata: Sequence[str], slides: Sequence[LabelledSlide]) -> None:
    """Refuse folds that cannot preserve sites.

    Args:
        task: Its name.
        folds: Its folds.
        strata: Class names; of a survival task, 0 (censored) and 1 (event seen).
        slides: The labelled slides.

    Raises:
        UserError: a slide has no site, there are fewer sites than folds, or a class has slides at one site alone.
    """
    if folds.preserve is None:
        return
    missing = [slide.slide for slide in slides if not slide.site]
    if missing:
        raise UserError(
            f"task {task}: folds.preserve is {folds.preserve}, but {len(missing)} of {len(slides)} labelled slides have"
            f" none ({first_of(missing, NAMED)}); fill column {folds.preserve} of the sheet (equal words such as"
            " `unknown` keep slides together), or remove folds.preserve"
        )
    blocks = blocks_of(slides)
    if len(blocks) < folds.n_folds:
        raise UserError(
            f"task {task}: the sites ({folds.preserve}) part the slides into {len(blocks)} groups without a common"
            f" site or patient, fewer than the {folds.n_folds} folds; lower folds.n_folds or remove folds.preserve"
        )
    for stratum in strata:
        homes = [block for block in blocks if any(slide.stratum == stratum for slide in block)]
        if len(homes) == 1:
            raise UserError(
                f"task {task}: all slides of {stratum!r} are of {sites_text(homes[0])}, so that the fold that tests"
                f" them cannot train on any; add slides of other sites, or remove folds.preserve ({folds.preserve})"
            )


def site_warnings(folds: Sequence[Fold]) -> list[str]:
    """What is worth knowing of folds that preserve sites; nothing of other folds.

    They test every slide once, or once for every training set that is drawn.
    """
    tests = {tuple(slide.slide for slide in fold.test): fold.test for fold in folds}
    slides = [slide for test in tests.values() for slide in test]
    if not any(slide.site for slide in slides):
        return []
    return [
        *joined_text(blocks_of(slides)),
        *large_text(blocks_of(slides), len(slides), len(tests)),
        *one_class_text(slides),
    ]


def joined_text(blocks: Sequence[Block]) -> list[str]:
    """Sites that patients join."""
    joined = [sites_text(block) for block in blocks if len({slide.site for slide in block}) > 1]
    return [f"patients with slides of several sites keep these together: {'; '.join(joined)}"] if joined else []


def large_text(blocks: Sequence[Block], n_slides: int, n_folds: int) -> list[str]:
    """Sites that do not fit into a fold."""
    even = n_slides / n_folds
    large = [f"{sites_text(block)} with {len(block)}" for block in blocks if len(block) > even]
    return [f"larger than a fold of {even:.4g} slides, so that folds differ in size: {'; '.join(large)}"] * bool(large)


def one_class_text(slides: Sequence[LabelledSlide]) -> list[str]:
    """Sites at which class and site are one."""
    strata: dict[str, set[str]] = {}
    for slide in slides:
        strata.setdefault(slide.site, set()).add(slide.stratum)
    single = sorted(site for site, classes in strata.items() if len(classes) == 1)
    if len(single) == len(strata):
        return ["every site has slides of one class only, so that class and site cannot be told apart"]
    return [f"slides of one class only: {len(single)} of {len(strata)} sites ({first_of(single, NAMED)})"] * bool(
        single
    )
