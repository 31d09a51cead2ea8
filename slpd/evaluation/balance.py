"""How evenly folds test classes, for a file and for people."""

from collections import Counter
from collections.abc import Sequence

from slpd.artifacts.evaluation.fold_balance import FoldBalance
from slpd.artifacts.evaluation.folds import Fold


def fold_balance(strata: Sequence[str], folds: Sequence[Fold]) -> list[FoldBalance]:
    """The test slides of every fold and class.

    Args:
        strata: Class names; of a survival task, 0 (censored) and 1 (event seen).
        folds: The folds of a task.
    """
    lines = []
    for stratum in strata:
        tests = [[slide for slide in fold.test if slide.stratum == stratum] for fold in folds]
        even = sum(map(len, tests)) / len(folds)
        for number, test in enumerate(tests):
            sites = Counter(slide.site for slide in test if slide.site)
            text = "; ".join(f"{site} ({n})" for site, n in sorted(sites.items()))
            lines.append(FoldBalance(number, stratum, len(test), len({slide.patient for slide in test}), even, text))
    return sorted(lines, key=lambda line: line.fold)


def balance_text(balance: Sequence[FoldBalance]) -> str:
    """How many slides of each class folds test, from the fewest to the most: A 8 to 12 (10 if even)."""
    by_stratum: dict[str, list[FoldBalance]] = {}
    for line in balance:
        by_stratum.setdefault(line.stratum, []).append(line)
    return ", ".join(
        f"{stratum} {min(line.n_slides for line in lines)} to {max(line.n_slides for line in lines)}"
        f" ({lines[0].n_slides_even:.4g} if even)"
        for stratum, lines in by_stratum.items()
    )
