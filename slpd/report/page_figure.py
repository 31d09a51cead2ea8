"""Figures for page and paper: drawn once, as SVG and PDF, and as SVG inside a page in the page's colours."""

import logging
import re
from pathlib import Path

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from slpd.plots.style import COLOURS, INK, drawing

logging.getLogger("fontTools.subset").setLevel(logging.WARNING)  # it tells of every table of a font
SHOWN_AS = ("svg", "pdf")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of its suffix, on no background; equal figures give equal bytes."""
    date = {"CreationDate": None} if path.suffix == ".pdf" else {"Date": None}
    with drawing():
        figure.savefig(path, metadata=date, transparent=True)


def as_page_svg(svg: str, name: str, title: str, description: str) -> Markup:
    """An SVG file of matplotlib as an element of a page: in its colours and font, ids its own, with a description."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.S)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r'(xlink:href="|url\()#', rf"\1#{name}-", body)
    body = body.replace(INK, "currentColor")
    for number, colour in enumerate(COLOURS, 1):
        body = body.replace(colour.lower(), f"var(--c{number})")  # in style attributes; lighter on a dark page
    body = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", body)
    size = re.search(r'width="([0-9.]+)pt"', body)
    width = float(size[1]) if size else 0.0
    opening, rest = body.split(">", 1)
    opening = re.sub(r' (?:width|height)="[^"]*"', "", opening)
    labels = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    style = f'role="img" class="plot" style="max-width:{width * 4 / 3:.0f}px"'
    return Markup(f"{opening} {style}>{labels}{rest}")  # matplotlib and `escape` escape text
