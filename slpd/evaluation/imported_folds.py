"""Folds read from split files, cut down to the labelled slides that can be used, and checked for leaks."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations

from slpd.artifacts.evaluation.absent_slides import AbsentSlide
from slpd.artifacts.evaluation.folds import SPLITS, Fold, LabelledSlide
from slpd.artifacts.outside.split_files import SplitIds
from slpd.artifacts.slides.spelling import slide_key
from slpd.errors import UserError, first_of

log = logging.getLogger(__name__)

ABSENT = ("not in the sheet", "left out", "without a label")  # why a slide that is named is in no fold
LARGE_SHARE = 0.1  # of a split's slides; smaller losses stand in the captions of tables alone
SAME_IDS = "slide ids of the sheet and of the split files must be the same (`.svs` at the end aside)"
NAMED = 3  # slides named in a message


def import_folds(
    task: str, splits: Sequence[SplitIds], slides: Sequence[LabelledSlide], allow_patient_overlap: bool
) -> list[Fold]:
    """The folds of split files, as HIPT and CLAM read them.

    A split has the slides that its file names and that are labelled and usable, in the order of `slides`, not
    of the file. Patients in both train and val are logged and never refused: nothing is tested on them.

    Args:
        task: Name of the task, for messages.
        splits: The ids in each split file, fold 0 first.
        slides: The labelled slides that can be used, in the order of the sheet.
        allow_patient_overlap: Accept a patient in train and test, or val and test, of a fold.

    Raises:
        UserError: two slides differ by `.svs` alone, a slide is in two splits of a fold, train or test is empty, or val
            is and its file names slides, or a patient of test is in train or val.
    """
    refuse_twins(task, slides)
    folds = [import_fold(task, number, ids, slides) for number, ids in enumerate(splits)]
    for first, second in combinations(SPLITS, 2):
        report_overlap(task, first, second, folds, allow_patient_overlap)
    return folds


def refuse_twins(task: str, slides: Sequence[LabelledSlide]) -> None:
    """Refuse two slides that one id of a split file would name."""
    first: dict[str, str] = {}
    for slide in slides:
        other = first.setdefault(bare(slide.slide), slide.slide)
        if other != slide.slide:
            raise UserError(
                f"task {task}: slides {other} and {slide.slide} have one id in split files, where `.svs` does not"
                " count; rename one in the sheet, or remove it"
            )


def import_fold(task: str, number: int, ids: SplitIds, slides: Sequence[LabelledSlide]) -> Fold:
    """One fold: for each split, the slides that it names."""
    where = f"task {task}, fold {number} (splits_{number}.csv)"
    ids_in = {split: {bare(slide) for slide in ids[split]} for split in SPLITS}
    for first, second in combinations(SPLITS, 2):
        twice = sorted(ids_in[first] & ids_in[second])
        if twice:
            raise UserError(f"{where}: slide {twice[0]} is in {first} and {second}; remove it from one of them")
    report_repeats(where, ids)
    fold = Fold(*([slide for slide in slides if bare(slide.slide) in ids_in[split]] for split in SPLITS))
    for split, usable in fold.splits.items():
        if not usable and (ids_in[split] or split != "val"):  # a fold may do without validation
            cause = other_spellings(ids[split], [slide.slide for slide in slides], "the sheet")
            raise UserError(
                f"{where}: none of the {len(ids_in[split])} {split} slides is labelled and usable; {cause or SAME_IDS}"
            )
    n_named = sum(map(len, ids_in.values()))
    log.info("%s: %d of %d slides are labelled and usable", where, len(fold.slides), n_named)
    return fold


def other_spellings(named: Iterable[str], slides: Iterable[str], table: str) -> str:
    """What to do about named slides that are not among `slides` but likely are in another spelling; or nothing."""
    spelt = {slide_key(slide): slide for slide in slides}
    known = set(map(bare, spelt.values()))
    pairs = {slide: spelt.get(slide_key(slide)) for slide in named if bare(slide) not in known}
    likely = [f"{slide} is {meant} in {table}" for slide, meant in pairs.items() if meant]
    return f"{first_of(likely, NAMED)}: write slide ids in one way, as text" if likely else ""


def absent_text(task: str, splits: Sequence[SplitIds], sheet: Iterable[str], table: str = "the sheet") -> str:
    """Which splits lose a large share of their slides because a table does not have them, and why; or nothing.

    Args:
        task: Name of the task.
        splits: The ids in each split file, fold 0 first.
        sheet: All slides of the cohort's sheet, or of another table.
        table: What it is, for the message.
    """
    slides = list(sheet)
    known = set(map(bare, slides))
    losses, lost = [], dict[str, None]()
    for number, ids in enumerate(splits):
        for split in SPLITS:
            absent = [slide for slide in ids[split] if bare(slide) not in known]
            lost |= dict.fromkeys(absent)
            if len(absent) > LARGE_SHARE * len(ids[split]):
                losses.append(f"{len(absent)} of {len(ids[split])} {split} slides of fold {number}")
    cause = other_spellings(lost, slides, table)
    if not losses and not cause:
        return ""
    shares = first_of(losses, NAMED) or f"{len(lost)} slides"
    return f"task {task}: split files name slides that {table} does not have: {shares}; {cause or example(lost)}"


def example(slides: Iterable[str]) -> str:
    """A few slides for a message."""
    return f"for example {first_of(list(slides), NAMED)}"


def report_repeats(where: str, ids: SplitIds) -> None:
    """Log the slides that a split names more than once."""
    repeated = [
        f"{slide} ({split})" for split in SPLITS for slide, n in Counter(map(bare, ids[split])).items() if n > 1
    ]
    if repeated:
        example = ", ".join(repeated[:NAMED])
        log.warning("%s: %d slides are there twice and count once, for example %s", where, len(repeated), example)


def absent_slides(
    splits: Sequence[SplitIds], sheet: Iterable[str], used: Iterable[str], labelled: Iterable[str]
) -> list[AbsentSlide]:
    """The slides that split files name and that no fold can have, in the order of the files.

    Args:
        splits: The ids in each split file.
        sheet: The slides of the cohort's sheet.
        used: Those of them that were not left out.
        labelled: Those of them that have a label of the task.
    """
    groups = [{bare(slide) for slide in slides} for slides in (sheet, used, labelled)]
    known = list(zip(groups, ABSENT, strict=True))
    named = dict.fromkeys(bare(slide) for ids in splits for split in SPLITS for slide in ids[split])
    first = ((slide, next((why for slides, why in known if slide not in slides), "")) for slide in named)
    return [AbsentSlide(slide, reason) for slide, reason in first if reason]


def bare(slide: str) -> str:
    """A slide id without the `.svs` that some split files and label tables add."""
    return slide.removesuffix(".svs")


def patient_overlap(fold: Fold) -> list[str]:
    """The patients with slides in both train and test, in order."""
    return shared_patients(fold.train, fold.test)


def shared_patients(first: Sequence[LabelledSlide], second: Sequence[LabelledSlide]) -> list[str]:
    """The patients with slides in both, in order."""
    return sorted({slide.patient for slide in first} & {slide.patient for slide in second})


def report_overlap(task: str, first: str, second: str, folds: Sequence[Fold], allowed: bool) -> None:
    """Refuse patients in two splits; log them if the task allows them, or where nothing is tested on them."""
    overlaps = [shared_patients(fold.splits[first], fold.splits[second]) for fold in folds]
    if not any(overlaps):
        return
    counts = ", ".join(f"fold {number}: {len(patients)}" for number, patients in enumerate(overlaps))
    example = next(patients[0] for patients in overlaps if patients)
    message = f"task {task}: patients in both {first} and {second} ({counts}), for example {example}"
    if second != "test":
        log.warning("%s; heads that choose an epoch by validation choose it on patients they have learnt", message)
    elif allowed:
        log.warning("%s; allowed by folds.allow_patient_overlap", message)
    else:
        raise UserError(f"{message}; correct the split files or set folds.allow_patient_overlap: true")
