"""The report's folder: pages with navigation, assets, figures, data and pictures.

Everything is static and local: pages open from a file and from any web server, and ask nothing of the network.
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from plotly.offline import get_plotlyjs

from slpd.artifacts.atomic import link_or_copy
from slpd.report.embedding import data_script, to_json
from slpd.report.page_figure import SHOWN_AS, as_page_svg, save_figure

HOME = "index.html"
ASSETS = ("theme.js", "report.js", "report.css")  # on every page
PLOTLY = "plotly.min.js"

Rows = Iterable[Sequence[object]]  # of a CSV file, the titles of its columns first
Fact = tuple[str, str, str]  # name, value and small print, as the macro `facts` of `blocks.html.j2` shows it


def columns(texts: Sequence[str], numbers: Sequence[str] = ()) -> list[dict[str, str]]:
    """Columns of text, then those of numbers, by their titles, as the macro `table` has them."""
    kinds = [*(("text", title) for title in texts), *(("number", title) for title in numbers)]
    return [{"title": title, "kind": kind} for kind, title in kinds]


@dataclass(frozen=True)
class Link:
    """A page in the navigation."""

    page: str  # file name
    title: str
    group: str = ""  # heading it stands under


@dataclass(frozen=True)
class FigureBlock:
    """A figure as the macro `figure` of `blocks.html.j2` shows it."""

    name: str
    title: str
    description: str  # what it shows, for those who do not see it
    svg: str  # markup, to stand in the page
    csv: str  # path of its data; empty: none


class Site:
    """A report in the making.

    Args:
        folder: Where it is written.
        experiment: Its name.
        navigation: All pages, in order; every page shows them.
    """

    def __init__(self, folder: Path, experiment: str, navigation: Sequence[Link]) -> None:
        self.folder = folder
        self.experiment = experiment
        self.navigation = list(navigation)
        self.environment = Environment(
            loader=PackageLoader("slpd.report"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters.update(to_json=to_json, figure_svg=as_page_svg)
        for name in ASSETS:
            self.asset(name)

    def write_page(self, name: str, template: str, context: Mapping[str, Any], scripts: Sequence[str] = ()) -> None:
        """Write a page.

        Args:
            name: File name; its title is the navigation's.
            template: File of `slpd/report/templates`; it extends `base.html.j2`.
            context: What the template reads.
            scripts: Files of `slpd/report/assets` that run on the page, in order; `scatter.js` loads plotly.
        """
        (link,) = (link for link in self.navigation if link.page == name)
        draws_points = "scatter.js" in scripts
        for script in [*scripts, *([PLOTLY] if draws_points else [])]:
            self.asset(script)
        text = self.environment.get_template(template).render(
            **context,
            page=link,
            experiment=self.experiment,
            navigation=self.navigation,
            home=HOME,
            scripts=list(scripts),
            plotly=draws_points,
        )
        self.place(name).write_text(text, encoding="utf-8")

    def asset(self, name: str) -> None:
        """Copy a file of `slpd/report/assets`, or plotly's JavaScript, once."""
        place, ours = self.place(f"assets/{name}"), files("slpd.report") / "assets" / name
        if not place.exists():
            place.write_bytes(get_plotlyjs().encode() if name == PLOTLY else ours.read_bytes())

    def write_csv(self, name: str, rows: Rows) -> str:
        """Write data that a page shows to `data/<name>.csv`; the path to link to."""
        path = f"data/{name}.csv"
        with open(self.place(path), "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        return path

    def write_text(self, path: str, text: str) -> str:
        """Write a file of text, `path` relative to the report; the path to link to."""
        self.place(path).write_text(text, encoding="utf-8")
        return path

    def write_data(self, path: str, value: Any) -> str:  # noqa: ANN401  # any JSON value
        """Write a script that hands `value` to the page that loads it; the path to load."""
        return self.write_text(path, data_script(path, value))

    def write_figure(self, name: str, figure: Figure, title: str, description: str, data: str = "") -> FigureBlock:
        """Write a figure as `figures/<name>.svg` and `.pdf`.

        Args:
            name: Made of letters, digits, `-`, `_` and `.`.
            figure: Drawn within `plots.style.drawing()`.
            title: What it shows, in a few words.
            description: What there is to see, in a sentence.
            data: Path of the CSV file with its numbers, as `write_csv` returns it.
        """
        for suffix in SHOWN_AS:
            save_figure(figure, self.place(f"figures/{name}.{suffix}"))
        svg = (self.folder / f"figures/{name}.svg").read_text(encoding="utf-8")
        return FigureBlock(name, title, description, svg, data)

    def link_file(self, source: Path, path: str) -> str:
        """Put a file into the report, without a second copy on the disk where the file system can; its path there."""
        place = self.place(path)
        link_or_copy(source, place)
        return path

    def place(self, path: str) -> Path:
        """Where a file of the report lies, its folder made."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        return place
