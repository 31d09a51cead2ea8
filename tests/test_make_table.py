"""Tables: the numbers, what the caption states, and that labels and reasons are data in every format."""

import argparse
import csv
import math
import re
import shutil
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from slpd.artifacts.evaluation.absent_slides import AbsentSlide, write_absent
from slpd.artifacts.evaluation.fold_metrics import FoldMetrics, write_fold_metrics
from slpd.artifacts.evaluation.folds import Fold, LabelledSlide, write_folds
from slpd.artifacts.evaluation.metric_intervals import MetricInterval, write_intervals
from slpd.artifacts.outside.published import PublishedFigure, misspelt_names, read_published
from slpd.artifacts.slides.manifest import ManifestRow, write_manifest
from slpd.artifacts.slides.slide_record import SlideRecord
from slpd.errors import UserError
from slpd.settings.evaluation import ClassTask, GeneratedFolds, Intervals, SurvivalTask
from slpd.settings.tables import Table, metrics_of
from slpd.stages import make_table
from slpd.tables.assembly import table_content
from slpd.tables.cells import Cell
from slpd.tables.content import TableContent
from slpd.tables.csv_table import as_csv, differences_as_csv
from slpd.tables.evaluations import Evaluation, Repeats
from slpd.tables.facts import task_facts
from slpd.tables.html_page import as_html
from slpd.tables.latex import as_latex
from slpd.tables.markdown import as_markdown
from slpd.tables.sources import read_evaluation

ROOT = Path(__file__).parents[1]
NASTY = "a<b> & c|d 50 % _x_ {y} ~ ^ # $ \\ *z* `q` &lt; ~~s~~"
FOLDS = GeneratedFolds(kind="generated", n_folds=3, validation_fraction=0, seed=0)


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


def task_of(name: str) -> ClassTask | SurvivalTask:
    if name == "os":
        return SurvivalTask(name=name, cohort="c", kind="survival", time="t", event="e", n_bins=3, folds=FOLDS)
    return ClassTask(name=name, cohort="c", label="l", classes=["A", "B"], folds=FOLDS)


def evaluation(
    variant: str, aucs: Sequence[float], accuracies: Sequence[float], task: str = "lung", head: str = "knn"
) -> Evaluation:
    """An evaluation of a task; of survival, `aucs` are c-indices."""
    of_kind = {"c_index": aucs} if task == "os" else {"auc": aucs, "accuracy": accuracies, "ece": accuracies}
    folds = [
        FoldMetrics(task, variant, head, number, **{metric: values[number] for metric, values in of_kind.items()})
        for number in range(len(aucs))
    ]
    return Evaluation(
        folds, [over_folds(task, variant, head, metric, folds) for metric in metrics_of(task_of(task).kind)]
    )


def over_folds(task: str, variant: str, head: str, metric: str, folds: Sequence[FoldMetrics]) -> MetricInterval:
    values = [value for fold in folds if not math.isnan(value := getattr(fold, metric))]
    mean = statistics.fmean(values) if values else math.nan
    std = statistics.stdev(values) if len(values) > 1 else math.nan
    return MetricInterval(task, variant, head, metric, mean, std, mean - 0.1, mean + 0.1, 0.95, len(values))


def folds_of(n_folds: int, label: str = "B", leak: bool = False) -> list[Fold]:
    slides = [LabelledSlide(f"s{i}", f"p{i // 2}", "A" if i < 4 else label) for i in range(6)]
    cut = 3 if leak else 2
    return [Fold(slides[cut:], [], slides[:cut]) for _ in range(n_folds)]


def manifest_of(n_left_out: int, reason: str = "no tissue") -> list[ManifestRow]:
    used = [ManifestRow(SlideRecord(slide=f"s{i}", path=f"s{i}.tif"), Path(f"s{i}.h5")) for i in range(7)]
    records = [SlideRecord(slide=f"bad{i:02d}", path="bad.tif") for i in range(n_left_out)]
    return [*used, *(ManifestRow(record.failed("segment_tissue", reason), None) for record in records)]


def content_of(
    evaluations: Sequence[Evaluation],
    n_left_out: int = 0,
    reason: str = "no tissue",
    label: str = "B",
    unavailable: dict[str, str] | None = None,
    published: Sequence[PublishedFigure] = (),
    repeats: Repeats | None = None,
    **changes: object,
) -> TableContent:
    table = table_of(**changes)
    n_folds = max(len(found.folds) for found in evaluations)
    manifest = manifest_of(n_left_out, reason)
    facts = [task_facts(task_of(task), folds_of(n_folds, label), manifest, [], {}) for task in table.tasks]
    return table_content(table, evaluations, facts, unavailable or {}, published, 0.95, repeats or {})


TWO_ROWS = [
    evaluation("dino", [0.5, 0.52, 0.51], [0.5, 0.5, 0.8]),
    evaluation("slpd", [0.9, 0.91, 0.92], [0.6, 0.7, 0.6]),
]


def test_a_cell_says_over_how_many_folds_it_is() -> None:
    assert Cell(0.7, 0.2, 0.6, 0.8, 3, 3).text == "0.700 ± 0.200 (0.600–0.800)"
    assert Cell(0.6, 0.14, 0.5, 0.7, 2, 3).text == "0.600 ± 0.140 (0.500–0.700) (2 of 3 folds)"
    assert Cell(0.7, math.nan, 0.5, 0.7, 1, 1).text == "0.700, one fold (0.500–0.700)"


def test_a_cell_without_a_figure_says_why() -> None:
    evaluations = [evaluation("dino", [math.nan] * 3, [0.5] * 3), evaluation("dino", [0.7] * 3, [], "os")]
    content = content_of(
        evaluations,
        tasks=["lung", "os"],
        metrics=["auc", "c_index"],
        unavailable={"slpd": "no weights: variants.slpd.pretrained.checkpoint is null"},
    )
    assert [cell.text for cell in content.rows[0].cells] == [
        "not defined: a class has no test case in any fold",
        "not of subtyping tasks",
        "not of survival tasks",
        "0.700 ± 0.000 (0.600–0.800)",
    ]
    assert content.rows[1].cells[0].text == "no weights: variants.slpd.pretrained.checkpoint is null"
    lines = list(csv.DictReader(as_csv(content).splitlines()))
    assert [bool(line["why"]) for line in lines] == [True, True, True, False, True, True, True, True]
    for render in (as_markdown, as_html, as_latex):
        assert "a class has no test case in any fold" in render(content)


def test_an_evaluation_that_the_data_do_not_allow_costs_its_cells_alone() -> None:
    """Its row has the reason, and the other variants are compared as if it were not there."""
    failed = evaluation("slpd", [math.nan] * 3, [math.nan] * 3)
    reasons = [replace(row, why="head abmil, fold 2: no convergence") for row in failed.intervals]
    lost = Evaluation(failed.folds, reasons)
    good = [evaluation("dino", [0.5, 0.52, 0.51], [0.5] * 3), evaluation("intra", [0.9, 0.91, 0.92], [0.5] * 3)]
    content = content_of([*good, lost], variants=["dino", "intra", "slpd"])
    assert content.rows[2].cells[0].text == "head abmil, fold 2: no convergence"
    assert [content.is_best(row, 0) for row in content.rows] == [False, True, False]
    for render in (as_markdown, as_html, as_latex):
        assert "head abmil, fold 2: no convergence" in render(content)


def csv_lines(content: TableContent) -> list[dict[str, str]]:
    return list(csv.DictReader(as_csv(content).splitlines()))


def test_a_line_of_the_csv_says_on_what_its_figure_rests() -> None:
    evaluations = [evaluation("dino", [0.1, math.nan, 0.7], [0.5] * 3), evaluation("dino", [0.7] * 3, [], "os")]
    metrics = ["auc", "c_index"]
    content = content_of(evaluations, n_left_out=2, tasks=["lung", "os"], variants=["dino"], metrics=metrics)
    lung, survival = content.tasks
    content = replace(content, tasks=[lung, replace(survival, n_folds=4, n_used=5, n_given=6)])
    columns = ("task", "metric", "n_folds", "n_folds_all", "n_slides_used", "n_slides_given", "level")
    assert [tuple(line[column] for column in columns) for line in csv_lines(content)] == [
        ("lung", "auc", "2", "3", "7", "9", "0.95"),
        ("lung", "c_index", "0", "3", "7", "9", "0.95"),
        ("os", "auc", "0", "4", "5", "6", "0.95"),
        ("os", "c_index", "3", "4", "5", "6", "0.95"),
    ]


def test_a_line_of_the_csv_without_a_published_figure_says_why() -> None:
    lines = csv_lines(content_of(TWO_ROWS, published=[replace(FIGURE, std=None), PLACE]))
    columns = ("published", "published_std", "published_source", "published_why")
    assert [tuple(line[column] for column in columns) for line in lines] == [
        ("", "", "", "to be filled in: config/published/mine.csv"),
        ("", "", "", "none known"),
        ("0.875", "", "A & B 2024, Table 2", ""),
        ("", "", "", "none known"),
    ]


def test_csv_holds_full_precision() -> None:
    content = content_of([evaluation("dino", [0.1, math.nan, 0.7], [1 / 3] * 3), TWO_ROWS[1]])
    lines = list(csv.DictReader(as_csv(content).splitlines()))
    assert len(lines) == 4
    auc = lines[0]
    assert (auc["variant"], auc["head"], auc["task"], auc["metric"]) == ("dino", "knn", "lung", "auc")
    assert (float(auc["mean"]), float(auc["std"])) == (statistics.fmean([0.1, 0.7]), statistics.stdev([0.1, 0.7]))
    assert [line["n_folds"] for line in lines] == ["2", "3", "3", "3"]
    assert float(lines[1]["mean"]) == statistics.fmean([1 / 3] * 3)


def test_bold_is_only_what_is_better_beyond_noise() -> None:
    text = as_markdown(content_of(TWO_ROWS))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert len({len(row) for row in rows}) == 1
    assert len({tuple(match.start() for match in re.finditer(r"\|", row)) for row in rows}) == 1
    assert [cell.strip() for cell in rows[0].strip("|").split("|")] == ["head", "variant", "lung AUC", "lung accuracy"]
    assert "**0.910 ± 0.010 (0.810–1.010)**" in rows[3]  # 0.4 apart in every fold
    assert rows[2].count("**") == 0
    assert rows[3].count("**") == 2  # its accuracy is higher by less than the folds differ


LOW, MIDDLE, HIGH = [0.5, 0.52, 0.51], [0.7, 0.72, 0.71], [0.9, 0.91, 0.92]  # AUCs of three folds


def bold_of(aucs: dict[str, list[float]]) -> list[str]:
    """The bold rows, as `head variant`, of a table with these AUCs."""
    names = [name.split() for name in aucs]
    evaluations = [evaluation(v, found, found, head=h) for (h, v), found in zip(names, aucs.values(), strict=True)]
    heads, variants = (list(dict.fromkeys(column)) for column in zip(*names, strict=True))
    content = content_of(evaluations, variants=variants, heads=heads, metrics=["auc"])
    return [f"{row.head} {row.variant}" for row in content.rows if content.is_best(row, 0)]


def test_bold_is_what_beats_every_rival_not_one_of_them() -> None:
    assert bold_of({"knn dino": LOW, "knn intra": HIGH, "knn slpd": MIDDLE}) == ["knn intra"]
    equal = [0.91, 0.9, 0.92]
    assert bold_of({"knn dino": LOW, "knn intra": HIGH, "knn slpd": equal}) == []  # both beat dino alone


def test_bold_does_not_look_at_other_heads() -> None:
    found = {"knn dino": LOW, "knn slpd": HIGH, "abmil dino": HIGH, "abmil slpd": LOW}
    assert bold_of(found) == ["knn slpd", "abmil dino"]


@pytest.mark.parametrize(("best", "other"), [("dino", "slpd"), ("slpd", "dino")])
def test_every_format_marks_the_best_cell_and_no_other(best: str, other: str) -> None:
    content = content_of([evaluation(best, HIGH, HIGH), evaluation(other, LOW, LOW)], metrics=["auc"])
    text = "0.910 ± 0.010 (0.810–1.010)"
    assert [line["variant"] for line in csv_lines(content) if line["best"] == "1"] == [best]
    assert [line["variant"] for line in csv_lines(content) if line["best"] == "0"] == [other]
    assert re.findall(r"\*\*(.+?)\*\*", as_markdown(content)) == [text]
    assert re.findall("<strong>(.+?)</strong>", as_html(content)) == [text]
    assert re.findall(r"\\textbf{(.+?)}", as_latex(content)) == [r"0.910 $\pm$ 0.010 (0.810--1.010)"]


def test_less_is_better_where_it_is() -> None:
    evaluations = [evaluation("dino", [0.5] * 3, [0.30, 0.31, 0.32]), evaluation("slpd", [0.5] * 3, [0.1, 0.11, 0.10])]
    content = content_of(evaluations, metrics=["ece"])
    assert [content.is_best(row, 0) for row in content.rows] == [False, True]


def test_variants_are_compared_under_the_same_head() -> None:
    """Abmil is far better than knn whatever the variant; that makes no variant best."""
    evaluations = [
        *(evaluation(variant, [0.5, 0.52, 0.51], [0.5] * 3) for variant in ("dino", "slpd")),
        *(evaluation(variant, [0.9, 0.92, 0.91], [0.9] * 3, head="abmil") for variant in ("dino", "slpd")),
    ]
    content = content_of(evaluations, heads=["knn", "abmil"])
    assert [(row.head, row.variant) for row in content.rows] == [
        ("knn", "dino"),
        ("knn", "slpd"),
        ("abmil", "dino"),
        ("abmil", "slpd"),
    ]
    assert not any(content.is_best(row, column) for row in content.rows for column in range(2))


def test_no_best_where_there_is_no_choice() -> None:
    assert "**" not in as_markdown(content_of(TWO_ROWS[:1], variants=["dino"]))
    assert "Bold" not in content_of(TWO_ROWS[:1], variants=["dino"]).legend
    alone = content_of([TWO_ROWS[0]], unavailable={"slpd": "no weights"})
    assert not any(alone.is_best(row, column) for row in alone.rows for column in range(2))


def test_a_difference_without_a_figure_says_why() -> None:
    """One fold of three has both AUCs, and none has an accuracy; no cell says nan."""
    none = [math.nan] * 3
    rows = [evaluation("dino", [0.7, math.nan, math.nan], none), evaluation("slpd", [0.9, 0.8, 0.7], none)]
    text = differences_as_csv(content_of(rows))
    (auc, accuracy) = csv.DictReader(text.splitlines())
    assert (auc["low"], auc["high"], auc["p_value"], auc["n_folds"]) == ("", "", "", "1")
    assert float(auc["difference"]) == pytest.approx(-0.2)
    assert auc["why"] == "1 fold has both figures, a test needs two"
    assert accuracy["why"] == "dino: not defined: no test cases; slpd: not defined: no test cases"
    assert "nan" not in text


def test_differences_are_paired_and_corrected() -> None:
    (auc, accuracy) = csv.DictReader(differences_as_csv(content_of(TWO_ROWS)).splitlines())
    assert (auc["first"], auc["second"], auc["head"], auc["n_folds"]) == ("dino", "slpd", "knn", "3")
    assert float(auc["difference"]) == pytest.approx(-0.4)
    assert float(auc["p_value"]) < 0.05 < float(accuracy["p_value"])
    assert auc["why"] == accuracy["why"] == ""
    differences = [-0.1, -0.2, 0.2]
    error = math.sqrt((1 / 3 + 2 / 4) * statistics.variance(differences))  # 2 test slides, 4 to train on
    assert float(accuracy["high"]) - float(accuracy["difference"]) == pytest.approx(4.302653 * error, rel=1e-6)


FIGURE = PublishedFigure("lung", "slpd", "knn", "auc", 0.875, 0.06, "A & B 2024, Table 2", "p.csv", 2)
PLACE = PublishedFigure("lung", "dino", "knn", "auc", None, None, "", "config/published/mine.csv", 3)


def test_published_figures_are_shown_next_to_ours_with_their_source() -> None:
    content = content_of(TWO_ROWS, published=[FIGURE, PLACE])
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in as_markdown(content).splitlines()
        if line.startswith("|")
    ]
    assert rows[0] == ["head", "variant", "lung AUC", "lung AUC, published", "lung accuracy"]
    assert rows[2][3] == "to be filled in: config/published/mine.csv"
    assert rows[3][3] == "0.875 ± 0.060 (1)"
    for render in (as_markdown, as_html, as_latex):
        assert "2024, Table 2" in render(content)
    (line,) = (row for row in csv.DictReader(as_csv(content).splitlines()) if row["published"])
    assert (line["variant"], line["published"], line["published_source"]) == ("slpd", "0.875", "A & B 2024, Table 2")


def test_a_figure_takes_its_place_and_two_are_refused() -> None:
    place = PublishedFigure("lung", "slpd", "knn", "auc", None, None, "", "mine.csv", 3)
    for order in ([FIGURE, place], [place, FIGURE]):
        assert content_of(TWO_ROWS, published=order).rows[1].published[0].value == 0.875  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"lung, slpd, knn, auc is published twice \(p.csv, line 2; q.csv, line 7\)"):
        content_of(TWO_ROWS, published=[FIGURE, replace(FIGURE, file="q.csv", line=7)])


def test_every_figure_has_the_number_of_its_own_source() -> None:
    other = replace(FIGURE, variant="dino", value=0.5, std=None, source="C 2020", line=3)
    third = replace(FIGURE, metric="accuracy", value=0.625, std=None, line=4)
    content = content_of(TWO_ROWS, published=[FIGURE, other, third])
    assert content.source_texts == ["(1) A & B 2024, Table 2", "(2) C 2020"]
    assert [[cell.text if cell else "" for cell in row.published] for row in content.rows] == [
        ["0.500 (2)", "none known"],
        ["0.875 ± 0.060 (1)", "0.625 (1)"],
    ]
    sources = [line["published_source"] for line in csv_lines(content)]
    assert sources == ["C 2020", "", "A & B 2024, Table 2", "A & B 2024, Table 2"]


HEADER = "task,variant,head,metric,value,std,source\n"


@pytest.mark.parametrize(
    ("metric", "value", "std", "message"),
    [
        ("auc", "87.9", "", r"value '87\.9' is outside auc's range, 0 to 1; write shares of 1, 87\.9 % as 0\.879"),
        ("auc", "1.7", "", r"value '1\.7' is outside auc's range, 0 to 1"),
        ("auc", "-0.2", "", r"value '-0\.2' is outside auc's range, 0 to 1"),
        ("ece", "-0.2", "", r"value '-0\.2' is outside ece's range, 0 to 1"),
        ("c_index", "70", "", r"value '70' is outside c_index's range, 0 to 1"),
        ("kappa", "-1.1", "", r"value '-1\.1' is outside kappa's range, -1 to 1"),
        ("auc", "0.8", "6", r"std '6' is negative or above 1, the width of auc's range"),
        ("auc", "", "0.06", r"std '0\.06' has no value beside it; write both, or leave both empty"),
    ],
)
def test_published_figures_that_cannot_be_are_refused(
    tmp_path: Path, metric: str, value: str, std: str, message: str
) -> None:
    path = tmp_path / "p.csv"
    path.write_text(HEADER + f"lung,slpd,knn,{metric},{value},{std},Someone 2020\n")
    with pytest.raises(UserError, match=rf"p\.csv, line 2: {message}"):
        read_published(path)


def test_published_figures_may_lie_at_the_ends_of_a_range(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    figures = [("auc", "0"), ("auc", "1"), ("kappa", "-1"), ("kappa", "-0.2")]
    path.write_text(HEADER + "".join(f"lung,slpd,knn,{metric},{value},,Someone\n" for metric, value in figures))
    assert [(figure.value, figure.line) for figure in read_published(path)] == [(0, 2), (1, 3), (-1, 4), (-0.2, 5)]


def test_near_misses_of_names_in_the_config_are_reported_with_line_and_likely_spelling() -> None:
    figures = [
        FIGURE,
        replace(FIGURE, variant="dinoo", line=3),
        replace(FIGURE, task="lung_10", variant="dinoo", line=5),
    ]
    names = {"task": ["lung"], "variant": ["dino", "slpd"], "head": ["knn"]}
    assert misspelt_names(figures, names) == ["variant 'dinoo' (line 3 and 1 more; did you mean 'dino'?)"]
    assert misspelt_names([FIGURE, replace(FIGURE, head="clam_sb", line=7)], names) == []


def test_published_figures_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    header = "task,variant,head,metric,value,std,source\n"
    path.write_text(header + "lung,slpd,knn,auc,0.8,,Someone 2020\nlung,slpd,knn,accuracy,,,\n")
    assert [figure.value for figure in read_published(path)] == [0.8, None]
    path.write_text(header + "lung,slpd,knn,auc,high,,Someone 2020\n")
    with pytest.raises(UserError, match="line 2: value 'high' is no number"):
        read_published(path)
    for value, std, message in (("nan", "", "value 'nan'"), ("inf", "", "value 'inf'"), ("0.8", "nan", "std 'nan'")):
        path.write_text(header + f"lung,slpd,knn,auc,{value},{std},Someone 2020\n")
        with pytest.raises(UserError, match=f"line 2: {message} is no number"):
            read_published(path)
    path.write_text(header + "lung,slpd,knn,auc,0.8,-0.1,Someone 2020\n")
    with pytest.raises(UserError, match=r"line 2: std '-0\.1' is negative"):
        read_published(path)
    path.write_text(header + "lung,slpd,knn,AUC,0.8,,Someone 2020\n")
    with pytest.raises(UserError, match="line 2: metric 'AUC' is none of auc, auprc, accuracy"):
        read_published(path)
    path.write_text(header + "lung,slpd,knn,auc,0.8,,\n")
    with pytest.raises(UserError, match=r"line 2: 0.8 has no source"):
        read_published(path)


def test_the_shipped_figures_are_hipts_and_slpds_places_are_empty() -> None:
    figures = {(f.task, f.variant, f.head, f.metric): f for f in read_published(ROOT / "config/published/hipt.csv")}
    assert (
        figures["brca_subtype", "hipt", "vit_wsi", "auc"].value,
        figures["nsclc_subtype", "hipt", "knn", "auc"].value,
    ) == (
        0.879,
        0.889,
    )
    assert all("mahmoodlab/HIPT at 780fafa" in figure.source for figure in figures.values())
    places = read_published(ROOT / "config/published/slpd.csv")
    assert len(places) == 80
    assert all(place.value is None for place in places)


Render = Callable[[TableContent], str]


@pytest.mark.parametrize("render", [as_markdown, as_latex, as_html])
def test_the_caption_states_slides_classes_folds_and_who_is_missing(render: Render) -> None:
    text = " ".join(render(content_of(TWO_ROWS, n_left_out=12, reason="slide bad00: no tissue")).split())
    assert "lung: 7 of 19 slides of the cohort used; in the folds 6 labelled slides of 3 patients (A 4, B 2)" in text
    assert "3 folds." in text
    assert "bad00: no tissue" in text
    assert "bad00: slide bad00" not in text  # the name is not said twice
    assert "bad09" in text
    assert "bad10" not in text
    assert "and 2 more, listed in slides.csv" in text
    assert "ddof 1" in text


def test_the_caption_states_leaks_and_events() -> None:
    facts = task_facts(task_of("lung"), folds_of(3, leak=True), manifest_of(0), [], {})
    assert "3 folds, 1 patient of each in both train and test." in facts.text
    twice = [LabelledSlide(f"s{i}", f"p{i % 3}", "A") for i in range(5)]  # p0 and p1 have two slides
    facts = task_facts(task_of("lung"), [Fold(twice[2:3], twice[:2], twice[3:])], manifest_of(0), [], {})
    assert "1 fold, 2 patients of each in both validation and test; class B has no training slide in" in facts.text
    several = replace(facts, n_folds=3, leaks=[2, 1, 3], validation_leaks=[0, 0, 0], untrained=[])
    assert "3 folds, 1 to 3 patients of each in both train and test." in several.text
    slides = [LabelledSlide(f"s{i}", f"p{i}", "3.5", str(i % 2)) for i in range(5)]
    facts = task_facts(task_of("os"), [Fold(slides[:3], [], slides[3:])], manifest_of(0), [], {})
    assert "(censored 3, event seen 2)" in facts.text
    assert facts.test_to_train == pytest.approx(2 / 3)


def test_the_ratio_of_the_corrected_test_is_of_cases_and_leaves_validation_out() -> None:
    """Patients of one, two, three and four slides; the cases of a task are slides, or patients."""
    owners = ["a", "b", "b", "c", "c", "c", "d", "d", "d", "d"]
    slides = [LabelledSlide(f"s{i}", owner, "A") for i, owner in enumerate(owners)]
    fold = Fold(train=slides[:3], val=slides[3:6], test=slides[6:])
    of_patients = task_of("lung").model_copy(update={"level": "patient"})
    assert task_facts(task_of("lung"), [fold], manifest_of(0), [], {}).test_to_train == pytest.approx(4 / 3)
    assert task_facts(of_patients, [fold], manifest_of(0), [], {}).test_to_train == pytest.approx(1 / 2)


def test_the_caption_counts_and_names_slides_that_only_split_files_know() -> None:
    absent = [AbsentSlide(f"gone{i}", "not in the sheet") for i in range(5)] + [AbsentSlide("x", "left out")]
    facts = task_facts(task_of("lung"), folds_of(3), manifest_of(0), absent, {})
    assert facts.text.endswith(
        "; named by the split files but in no fold: 5 not in the sheet (gone0, gone1, gone2, …), 1 left out (x)."
    )


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


def nasty(attack: str) -> TableContent:
    figure = PublishedFigure("lung", "slpd", "knn", "auc", 0.8, None, attack, "p.csv", 2)
    return content_of(
        TWO_ROWS, n_left_out=1, reason=attack, label=attack, caption=attack, published=[figure], name="t_1"
    )


def test_html_keeps_data_as_data() -> None:
    attack = "<script>alert(1)</script>" + NASTY
    page = as_html(nasty(attack))
    parser = Text()
    parser.feed(page)
    assert "script" not in parser.tags
    assert "b" not in parser.tags
    assert parser.text.count(attack) == 5  # title, heading, source, class, reason
    assert "http" not in page  # nothing is loaded from elsewhere


def test_latex_keeps_data_as_data() -> None:
    text = as_latex(nasty(NASTY))
    escaped = (
        r"a\textless{}b\textgreater{} \& c\textbar{}d 50 \% \_x\_ \{y\} \textasciitilde{} \textasciicircum{} \# \$"
        r" \textbackslash{} *z* `q` \&lt; \textasciitilde{}\textasciitilde{}s\textasciitilde{}\textasciitilde{}"
    )
    assert text.count(escaped) == 4
    body = text.replace(r"\\", "").replace(r"\{", "").replace(r"\}", "")
    assert body.count("{") == body.count("}")
    assert r"\cmidrule(lr){3-5}" in text
    assert r"\textbf{0.910 $\pm$ 0.010 (0.810--1.010)}" in text


def test_latex_spans_each_task() -> None:
    others = [evaluation(variant, [1] * 3, [1] * 3, "a_b") for variant in ("dino", "slpd")]
    text = as_latex(content_of([*TWO_ROWS, *others], tasks=["lung", "a_b"]))
    assert r"\multicolumn{2}{c}{lung} & \multicolumn{2}{c}{a\_b} \\" in text
    assert r"\cmidrule(lr){3-4} \cmidrule(lr){5-6}" in text


def test_latex_sets_what_people_write() -> None:
    text = as_latex(nasty("ER ≥ 1 %, HER2 ≤ 2+, TGF-β λ Δ 5 mm² µm ± é ß 中"))
    expected = (
        r"ER $\geq$ 1 \%, HER2 $\leq$ 2+, TGF-$\beta$ $\lambda$ $\Delta$ 5 mm\textsuperscript{2} $\mu$m $\pm$ é ß"
    )
    assert f"{expected} [U+4E2D]" in text


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="LaTeX is not here")
def test_a_paper_with_the_table_can_be_set(tmp_path: Path) -> None:
    """Everything that a caption or a cell may hold goes through pdflatex, without a warning of missing characters."""
    absent = [AbsentSlide(f"gone_{i}", "not in the sheet") for i in range(5)]
    attack = NASTY + " ER ≥ 1 ≤ ≈ ≠ → ∞ × ± – … ² ³ µ − αβγδεζηθικλμνξοπρςστυφχψω ΓΔΘΛΞΠΣΥΦΨΩ “é” ‘ß’ — † ‡ • 中"
    content = nasty(attack)
    tasks = [replace(task, absent={"not in the sheet": [entry.slide for entry in absent]}) for task in content.tasks]
    (tmp_path / "table.tex").write_text(as_latex(replace(content, tasks=tasks)), encoding="utf-8")
    paper = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table}\end{document}"
    (tmp_path / "paper.tex").write_text(paper)
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "paper.log").read_text(errors="replace")
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


def test_markdown_keeps_data_as_data() -> None:
    text = as_markdown(content_of(TWO_ROWS, n_left_out=1, reason=NASTY + "\n\x1b[31mred", label="x_1"))
    assert r"a\<b\> \& c\|d 50 % \_x\_ {y} \~ ^ \# $ \\ \*z\* \`q\` \&lt; \~\~s\~\~" in " ".join(text.split())
    assert "\x1b" not in text
    assert "x_1 2" in text  # an underscore inside a name is no markup


def test_missing_and_doubled_evaluations_are_refused() -> None:
    with pytest.raises(UserError, match="task lung has 3 folds, but the metrics of variant slpd, head knn are of 0"):
        content_of(TWO_ROWS[:1])
    short = evaluation("slpd", [0.9, 0.8], [0.6, 0.6])
    with pytest.raises(UserError, match="variant slpd, head knn are of 2"):
        content_of([TWO_ROWS[0], short])
    with pytest.raises(UserError, match="variant dino, head knn: its metrics are there twice"):
        content_of([*TWO_ROWS, TWO_ROWS[0]])


def test_an_evaluation_without_one_of_its_metrics_is_refused() -> None:
    less = Evaluation(TWO_ROWS[1].folds, [row for row in TWO_ROWS[1].intervals if row.metric != "auc"])
    with pytest.raises(
        UserError, match=r"task lung, variant slpd, head knn: no auc in intervals\.csv; delete the file"
    ):
        content_of([TWO_ROWS[0], less])


@pytest.mark.parametrize("name", ["metrics.csv", "intervals.csv"])
@pytest.mark.parametrize("text", ["", "task,variant,head,fold\n"])
def test_an_emptied_file_of_an_evaluation_is_named(tmp_path: Path, name: str, text: str) -> None:
    folder = tmp_path / "dino"
    write_fold_metrics(folder / "metrics.csv", TWO_ROWS[0].folds)
    write_intervals(folder / "intervals.csv", TWO_ROWS[0].intervals)
    (folder / name).write_text(text)
    with pytest.raises(UserError, match=rf"dino/{name}: no line of figures, .*; delete the file and run snakemake"):
        read_evaluation(folder)


def run_stage(folder: Path, n_manifests: int = 1) -> dict[str, bytes]:
    """Run the command; returns every file it wrote."""
    for found in TWO_ROWS:
        write_fold_metrics(folder / found.folds[0].variant / "metrics.csv", found.folds)
        write_intervals(folder / found.folds[0].variant / "intervals.csv", found.intervals)
    write_folds(folder / "folds.csv", folds_of(3))
    write_manifest(folder / "slides.csv", manifest_of(1))
    write_absent(folder / "absent.csv", [])
    parser = argparse.ArgumentParser()
    make_table.add_arguments(parser)
    arguments = ["--table", table_of().model_dump_json(), "--folds", str(folder / "folds.csv")]
    arguments += ["--evaluations", str(folder / "dino"), str(folder / "slpd"), "--unavailable", "{}"]
    arguments += ["--tasks", task_of("lung").model_dump_json()]
    arguments += ["--settings", Intervals(n_resamples=100, level=0.95, seed=0).model_dump_json()]
    arguments += ["--manifests", *[str(folder / "slides.csv")] * n_manifests]
    arguments += ["--absent", str(folder / "absent.csv")]
    for name in ("csv", "differences", "markdown", "latex", "html"):
        arguments += [f"--{name}", str(folder / "out" / name)]
    make_table.run(parser.parse_args(arguments))
    return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def test_the_stage_writes_every_format_with_the_same_bytes_each_time(tmp_path: Path) -> None:
    files = run_stage(tmp_path)
    assert sorted(files) == ["csv", "differences", "html", "latex", "markdown"]
    assert all(b"0.9" in files[name] for name in ("csv", "html", "latex", "markdown"))
    assert run_stage(tmp_path) == files


def test_a_manifest_per_task_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="table main: 1 tasks, but 1 --tasks, 1 --folds, 2 --manifests and 1 --absent"):
        run_stage(tmp_path, n_manifests=2)


def test_the_caption_counts_slides_of_the_folds_of_which_a_variant_has_no_vectors() -> None:
    folds = folds_of(3)
    in_folds = sorted({slide.slide for fold in folds for slide in fold.slides})
    absent = [AbsentSlide(slide, "no file") for slide in [*in_folds[:4], "elsewhere"]]
    facts = task_facts(task_of("lung"), folds, manifest_of(0), [], {"titan": absent, "prism": []})
    named = ", ".join(in_folds[:3])
    assert f"titan without 4 slides of the folds, 4 no file ({named}, …)" in facts.text
    assert "prism" not in facts.text
