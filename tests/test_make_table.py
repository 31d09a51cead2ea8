"""Tables: the numbers, what the caption states, and that labels and reasons are data in every format."""

import argparse
import csv
import math
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path

import pytest

from slpd.artifacts.fold_metrics import FoldMetrics, read_fold_metrics, write_fold_metrics
from slpd.artifacts.folds import Fold, LabelledSlide, write_folds
from slpd.artifacts.manifest import ManifestRow, write_manifest
from slpd.artifacts.slide_record import SlideRecord
from slpd.errors import UserError
from slpd.settings.evaluation import Table
from slpd.stages import make_table
from slpd.tables.content import TableContent, summarise, table_content, task_facts
from slpd.tables.csv_table import as_csv
from slpd.tables.html_page import as_html
from slpd.tables.latex import as_latex
from slpd.tables.markdown import as_markdown

NASTY = "a<b> & c|d 50 % _x_ {y} ~ ^ # $ \\ *z* `q`"


def table_of(**changes: object) -> Table:
    settings = {
        "name": "main",
        "caption": "Subtyping",
        "tasks": ["lung"],
        "variants": ["dino", "slpd"],
        "heads": ["knn"],
        "metrics": ["auc", "accuracy"],
    }
    return Table.model_validate(settings | changes)


def metrics_of(variant: str, aucs: list[float], accuracies: list[float], task: str = "lung") -> list[FoldMetrics]:
    folds = enumerate(zip(aucs, accuracies, strict=True))
    return [FoldMetrics(task, variant, "knn", number, auc, accuracy, 0.25, 0.125) for number, (auc, accuracy) in folds]


def folds_of(n_folds: int, label: str = "B") -> list[Fold]:
    slides = [LabelledSlide(f"s{i}", f"p{i // 2}", "A" if i < 4 else label) for i in range(6)]
    return [Fold(slides[2:], [], slides[:2]) for _ in range(n_folds)]


def manifest_of(n_left_out: int, reason: str = "no tissue") -> list[ManifestRow]:
    used = [ManifestRow(SlideRecord(slide=f"s{i}", path=f"s{i}.tif"), Path(f"s{i}.h5")) for i in range(7)]
    records = [SlideRecord(slide=f"bad{i:02d}", path="bad.tif") for i in range(n_left_out)]
    return [*used, *(ManifestRow(record.failed("segment_tissue", reason), None) for record in records)]


def content_of(
    metrics: list[FoldMetrics], n_left_out: int = 0, reason: str = "no tissue", label: str = "B", **changes: object
) -> TableContent:
    table = table_of(**changes)
    n_folds = len({fold.fold for fold in metrics})
    facts = [task_facts(task, folds_of(n_folds, label), manifest_of(n_left_out, reason)) for task in table.tasks]
    return table_content(table, metrics, facts)


TWO_ROWS = [
    *metrics_of("dino", [0.5, 0.7, 0.9], [0.5, 0.5, 0.8]),
    *metrics_of("slpd", [0.9, 0.8, 1.0], [0.6, 0.6, 0.6]),
]


def test_mean_and_deviation_by_hand() -> None:
    cell = summarise([0.5, 0.7, 0.9])
    assert (cell.mean, cell.std) == pytest.approx((0.7, 0.2))  # ddof 1: sqrt((0.04 + 0 + 0.04) / 2)
    assert cell.text == "0.700 ± 0.200"


def test_a_cell_says_over_how_many_folds_it_is() -> None:
    assert summarise([0.5, math.nan, 0.7]).text == f"0.600 ± {statistics.stdev([0.5, 0.7]):.3f} (2 of 3 folds)"
    assert summarise([math.nan, 0.7]).text == "0.700 (1 of 2 folds)"
    assert summarise([math.nan, math.nan]).text == "not defined"


def test_csv_holds_full_precision() -> None:
    content = content_of([*metrics_of("dino", [0.1, math.nan, 0.7], [1 / 3] * 3), *TWO_ROWS[3:]])
    lines = list(csv.DictReader(as_csv(content).splitlines()))
    assert len(lines) == 4
    auc = lines[0]
    assert (auc["variant"], auc["head"], auc["task"], auc["metric"]) == ("dino", "knn", "lung", "auc")
    assert (float(auc["mean"]), float(auc["std"])) == (statistics.fmean([0.1, 0.7]), statistics.stdev([0.1, 0.7]))
    assert [line["n_folds"] for line in lines] == ["2", "3", "3", "3"]
    assert float(lines[1]["mean"]) == statistics.fmean([1 / 3] * 3)


def test_markdown_lines_up_and_marks_the_best() -> None:
    text = as_markdown(content_of(TWO_ROWS))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({len(row) for row in rows}) == 1
    assert len({tuple(match.start() for match in re.finditer(r"\|", row)) for row in rows}) == 1
    assert [cell.strip() for cell in rows[0].strip("|").split("|")] == ["variant", "head", "lung AUC", "lung accuracy"]
    assert "| 0.700 ± 0.200     |" in rows[2]
    assert "**0.900 ± 0.100**" in rows[3]
    assert "**0.600 ± 0.173**" in rows[2]  # both print an accuracy of 0.600: neither is better
    assert "**0.600 ± 0.000**" in rows[3]


def test_no_best_where_there_is_no_choice() -> None:
    assert "**" not in as_markdown(content_of(TWO_ROWS[:3], variants=["dino"]))
    undefined = [*metrics_of("dino", [math.nan] * 2, [0.5] * 2), *metrics_of("slpd", [math.nan] * 2, [0.4] * 2)]
    assert as_markdown(content_of(undefined)).count("**0.") == 1


@pytest.mark.parametrize("render", [as_markdown, as_latex, as_html])
def test_the_caption_states_slides_classes_folds_and_who_is_missing(render: object) -> None:
    text = " ".join(render(content_of(TWO_ROWS, n_left_out=12, reason="slide bad00: no tissue")).split())  # type: ignore[operator]
    assert "lung: 7 of 19 slides of the cohort used; in the folds 6 labelled slides of 3 patients (A 4, B 2)" in text
    assert "3 folds." in text
    assert "bad00: no tissue" in text
    assert "bad00: slide bad00" not in text  # the name is not said twice
    assert "bad09" in text
    assert "bad10" not in text
    assert "and 2 more, listed in slides.csv" in text
    assert "ddof 1" in text


class Text(HTMLParser):
    """Tags and text of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_keeps_data_as_data() -> None:
    attack = "<script>alert(1)</script>" + NASTY
    page = as_html(content_of(TWO_ROWS, n_left_out=1, reason=attack, label=attack, caption=attack))
    parser = Text()
    parser.feed(page)
    assert "script" not in parser.tags
    assert "b" not in parser.tags
    assert parser.text.count(attack) == 4  # title, heading, class, reason
    assert "http" not in page  # nothing is loaded from elsewhere


def test_latex_keeps_data_as_data() -> None:
    text = as_latex(content_of(TWO_ROWS, n_left_out=1, reason=NASTY, label=NASTY, caption=NASTY, name="t_1"))
    escaped = (
        r"a\textless{}b\textgreater{} \& c\textbar{}d 50 \% \_x\_ \{y\} \textasciitilde{} \textasciicircum{} \# \$"
        r" \textbackslash{} *z* `q`"
    )
    assert text.count(escaped) == 3
    body = text.replace(r"\\", "").replace(r"\{", "").replace(r"\}", "")
    assert body.count("{") == body.count("}")
    assert r"\cmidrule(lr){3-4}" in text
    assert r"\textbf{0.900 $\pm$ 0.100}" in text


def test_latex_spans_each_task() -> None:
    metrics = [*TWO_ROWS, *metrics_of("dino", [1] * 3, [1] * 3, "a_b"), *metrics_of("slpd", [1] * 3, [1] * 3, "a_b")]
    text = as_latex(content_of(metrics, tasks=["lung", "a_b"]))
    assert r"\multicolumn{2}{c}{lung} & \multicolumn{2}{c}{a\_b} \\" in text
    assert r"\cmidrule(lr){3-4} \cmidrule(lr){5-6}" in text


def test_markdown_keeps_data_as_data() -> None:
    text = as_markdown(content_of(TWO_ROWS, n_left_out=1, reason=NASTY + "\n\x1b[31mred", label="x_1"))
    assert r"a\<b\> & c\|d 50 % \_x\_ {y} ~ ^ \# $ \\ \*z\* \`q\`" in " ".join(text.split())
    assert "\x1b" not in text
    assert "x_1 2" in text  # an underscore inside a name is no markup


def test_missing_and_doubled_evaluations_are_refused() -> None:
    with pytest.raises(UserError, match="task lung has 3 folds, but the metrics of variant slpd, head knn are of 0"):
        content_of(TWO_ROWS[:3])
    with pytest.raises(UserError, match="variant slpd, head knn are of 2"):
        content_of(TWO_ROWS[:5])
    with pytest.raises(UserError, match="variant dino, head knn: the metrics of fold 0 are there twice"):
        content_of([*TWO_ROWS, TWO_ROWS[0]])


def test_metrics_survive_the_file(tmp_path: Path) -> None:
    write_fold_metrics(tmp_path / "metrics.csv", TWO_ROWS)
    assert read_fold_metrics(tmp_path / "metrics.csv") == TWO_ROWS


def run_stage(folder: Path, n_manifests: int = 1) -> dict[str, bytes]:
    """Run the command; returns every file it wrote."""
    write_fold_metrics(folder / "dino.csv", TWO_ROWS[:3])
    write_fold_metrics(folder / "slpd.csv", TWO_ROWS[3:])
    write_folds(folder / "folds.csv", folds_of(3))
    write_manifest(folder / "slides.csv", manifest_of(1))
    parser = argparse.ArgumentParser()
    make_table.add_arguments(parser)
    arguments = ["--table", table_of().model_dump_json(), "--folds", str(folder / "folds.csv")]
    arguments += ["--metrics", str(folder / "dino.csv"), str(folder / "slpd.csv")]
    arguments += ["--manifests", *[str(folder / "slides.csv")] * n_manifests]
    for name in ("csv", "markdown", "latex", "html"):
        arguments += [f"--{name}", str(folder / "out" / name)]
    make_table.run(parser.parse_args(arguments))
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def test_the_stage_writes_every_format_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    files = run_stage(tmp_path)
    assert sorted(files) == ["csv", "html", "latex", "markdown"]
    assert all(b"0.9" in data for data in files.values())
    assert run_stage(tmp_path) == files


def test_a_manifest_per_task_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="table main: 1 tasks, but 1 --folds and 2 --manifests"):
        run_stage(tmp_path, n_manifests=2)
