"""How the figures of the report look: colours, dashes and markers that everybody can tell apart, text as text."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

# Okabe & Ito (2008): told apart with every kind of colour vision. In order of use; black is left to text.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LONGEST = 24  # characters of a name in a figure
INK = "#1b1f24"  # text and axes; on a page the colour of its text
FAINT = "#8a8f98"  # grids and what stands back; on a page half as strong

STYLE: Any = {  # of rcParams
    "svg.fonttype": "none",  # text stays text: searchable, editable, in the page's font
    "svg.hashsalt": "slpd",  # equal figures give equal bytes
    "text.parse_math": False,  # names are no formulas
    "pdf.fonttype": 42,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.linewidth": 0.7,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.4,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


@contextmanager
def drawing() -> Iterator[None]:
    """The report's style, for what is drawn and saved in the block."""
    with matplotlib.rc_context(STYLE):
        yield


def curve_style(number: int) -> dict[str, Any]:
    """Colour and dashes of a curve, by its number."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)]}


def add_legend(figure: Figure, names: Sequence[str], styles: Sequence[dict[str, Any]], n_columns: int) -> None:
    """A legend below the panels, of lines in these styles."""
    lines = [Line2D([], [], **style) for style in styles]
    figure.legend(lines, list(map(short, names)), loc="outside lower left", ncols=min(len(lines), n_columns) or 1)


def short(name: str, more: str = "") -> str:
    """A name as an axis or legend has room for it, perhaps with more after it; the CSV files have all of it."""
    room = LONGEST - len(more)
    return f"{name if len(name) <= room else f'{name[: room - 1]}…'}{more}"
