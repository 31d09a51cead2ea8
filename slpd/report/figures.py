"""Figures for page and paper: drawn once by matplotlib, as SVG and PDF, and as SVG inside a page in the page's colours."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

SHOWN_AS = ("svg", "pdf")
# Okabe & Ito (2008): told apart with every kind of colour vision. In order of use; black is left to text.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
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


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its suffix, on no background; equal figures give equal bytes."""
    date = {"CreationDate": None} if path.suffix == ".pdf" else {"Date": None}
    with drawing():
        figure.savefig(path, metadata=date, transparent=True)


def as_page_svg(svg: str, name: str, title: str, description: str) -> Markup:
    """An SVG file of matplotlib as an element of a page: in its colours and font, its ids its own, with a description."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", body)
    body = body.replace(INK, "currentColor")
    body = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", body)
    size = re.search(r'width="([0-9.]+)pt"', body)
    width = float(size[1]) if size else 0.0
    opening, rest = body.split(">", 1)
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    labels = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    style = f'role="img" class="plot" style="max-width:{width * 4 / 3:.0f}px"'
    return Markup(f"{opening} {style}>{labels}{rest}")  # matplotlib and `escape` escape text
