"""What a table's page shows of the robustness of vectors: a figure and a line per confounder, kind and variant."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from slpd.artifacts.evaluation.robustness_table import RobustnessLine
from slpd.plots.evaluation_figures import Measured, draw_folds
from slpd.report.findings import signed
from slpd.report.site import FigureBlock, Site, columns
from slpd.report.words import count, decimal

ByVariant = Mapping[str, Sequence[RobustnessLine]]

FIGURES = ("index (by chance)", "k", "support", "CRoMa (by chance)", "interval", "worst tenth", "0 or less")
SIZES = ("vectors", "slides")


def robustness_part(site: Site, prefix: str, by_variant: ByVariant) -> dict[str, Any]:
    """What the page shows, its figure written; nothing where nothing was measured.

    Args:
        site: The report.
        prefix: Begins the names of files.
        by_variant: Variant of the table -> its lines.
    """
    lines = [(variant, line) for variant, of_variant in by_variant.items() for line in of_variant]
    if not lines:
        return {}
    rows = [["variant", *asdict(lines[0][1])], *([variant, *asdict(line).values()] for variant, line in lines)]
    csv = site.write_csv(f"{prefix}-robustness", rows)
    return {
        "figures": [robustness_figure(site, prefix, by_variant, csv)] if any(not line.why for _, line in lines) else [],
        **robustness_table("variant", lines),
        "csv": csv,
    }


def robustness_table(title: str, lines: Sequence[tuple[str, RobustnessLine]]) -> dict[str, Any]:
    """Lines as a table, those without figures apart; `title` says what the name of each line is."""
    return {
        "columns": columns(["confounder", "vectors of", title], [*FIGURES, *SIZES]),
        "rows": [row_of(name, line) for name, line in lines if not line.why],
        "failed": [
            f"{name}, {line.confounder}, vectors of {line.vectors}: {line.why}" for name, line in lines if line.why
        ],
    }


def row_of(name: str, line: RobustnessLine) -> list[Any]:
    """A line of the table."""
    index = {"text": f"{line.index:.3f} ({line.index_by_chance:.3f})", "value": line.index}
    margin = {"text": f"{signed(line.margin)} ({signed(line.margin_by_chance)})", "value": line.margin}
    spread = [f"{signed(line.low)} to {signed(line.high)}", signed(line.tail), decimal(line.site_nearer, 2)]
    slides = {"text": f"{line.n_slides} of {line.n_slides_given}", "value": line.n_slides}
    figures = [index, count(line.k), decimal(line.support, 2), margin, *spread, count(line.n_vectors), slides]
    return [line.confounder, line.vectors, name, *figures]


def robustness_figure(site: Site, prefix: str, by_variant: ByVariant, csv: str) -> FigureBlock:
    """Index and margin of every variant, two panels per confounder."""
    measured = {
        (line.confounder, line.vectors, variant): line
        for variant, lines in by_variant.items()
        for line in lines
        if not line.why
    }
    kinds = dict.fromkeys(kind for _, kind, _ in measured)
    panels: dict[str, dict[str, list[Measured | None]]] = {}
    for confounder in dict.fromkeys(confounder for confounder, _, _ in measured):
        for title, mark in ((f"index, {confounder}", index_mark), (f"CRoMa, {confounder}", margin_mark)):
            panels[title] = {
                kind: [mark(measured.get((confounder, kind, variant))) for variant in by_variant] for kind in kinds
            }
    about = (
        "Robustness index and CRoMa (median with its interval); small dots: by chance. Of slide vectors and of drawn"
        " region vectors. Higher: the class is nearer than the confounder."
    )
    figure = draw_folds(panels, list(by_variant))
    return site.write_figure(f"{prefix}-robustness", figure, "Class or confounder in the vectors", about, csv)


def index_mark(line: RobustnessLine | None) -> Measured | None:
    """The index, and by chance."""
    return Measured([line.index_by_chance], line.index, float("nan"), float("nan")) if line else None


def margin_mark(line: RobustnessLine | None) -> Measured | None:
    """The margin with its interval, and by chance."""
    return Measured([line.margin_by_chance], line.margin, line.low, line.high) if line else None
