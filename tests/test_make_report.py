"""make_report: what pages say, that data stay data, that nothing leaves the folder, that figures and numbers agree."""

import csv
import json
import re
import shutil
import socket
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import report_cases
import toy
import yaml
from report_cases import CLASSES, COLUMN, HOSTILE, IMAGE, SCRIPT, TEMPLATE
from sklearn.metrics import auc, roc_auc_score
from snakemake.utils import update_config

from slpd.artifacts.atomic import atomic_folder
from slpd.artifacts.learned.training_metrics import EpochMetrics
from slpd.artifacts.runs.job_costs import JobCost, read_job_costs
from slpd.evaluation.roc import mean_roc
from slpd.inputs import read_sheets
from slpd.layout import BATCHES, Layout, files_of_slide
from slpd.plots.evaluation_figures import draw_confusion
from slpd.plots.style import drawing
from slpd.report.costs import stage_costs
from slpd.report.embedding import data_script, to_json
from slpd.report.settings_page import config_yaml
from slpd.report.sources import report_files
from slpd.report.training_page import signs
from slpd.settings.experiment import Experiment
from slpd.settings.load import load_experiment

PAGES = {
    "index.html",
    "slides-toy.html",
    "slides-tokens.html",
    "training-toy.html",
    "prototypes-toy-slpd.html",
    "graph-toy-slpd.html",
    "attention-dx-slpd-abmil.html",
    "results-toy.html",
    "settings.html",
}


class Page(HTMLParser):
    """A page as a parser of HTML sees it: elements with attributes, text outside scripts, JSON inside them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self.inside = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self.inside = tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        (self.scripts if self.inside == "script" and data.strip() else self.text).append(data)

    @property
    def words(self) -> str:
        """All text, its spaces made one."""
        return " ".join("".join(self.text).split())

    def attributes(self, name: str) -> list[str]:
        """Every value of an attribute."""
        return [attributes[name] for _, attributes in self.elements if name in attributes]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The report of the hostile experiment; its folder is the current one."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder / report_cases.write_report(report_cases.write_results(folder))


@pytest.fixture
def pages(report: Path) -> dict[str, Page]:
    """Every page."""
    return {path.name: Page(path) for path in report.glob("*.html")}


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_parts_of_the_cases_and_robustness_are_shown_and_small_groups_only_named(
    report: Path, pages: dict[str, Page]
) -> None:
    words = pages["results-toy.html"].words
    assert f"rare: {report_cases.SMALL}" in words
    assert "0.2000.042" in words  # gap and p, in cells of their own
    assert "0.612 (0.500)110.90+0.123 (+0.032)+0.100 to +0.150-0.2000.30" in words
    assert f"Not measured: dino, {COLUMN}, vectors of slides: none of {IMAGE}" in words
    assert "0.612 (0.500)110.90" in pages["graph-toy-slpd.html"].words
    drawn = (report / "figures/toy-dx-subgroups-0.svg").read_text()
    assert "rare (" not in drawn and "(30)" in drawn
    assert len(rows(report / "data/toy-dx-subgroups.csv")) == 4 * 4 * 10  # evaluations, groups, metrics
    assert {row["variant"] for row in rows(report / "data/toy-dx-robustness.csv")} == {"dino", "slpd"}


def test_every_page_is_there_and_in_the_navigation_of_every_other(pages: dict[str, Page]) -> None:
    assert set(pages) == PAGES
    for page in pages.values():
        linked = {link for link in page.attributes("href") if link.endswith(".html")}
        assert linked >= PAGES


def test_links_lead_to_files_of_the_report_alone(report: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        for link in (*page.attributes("href"), *page.attributes("src")):
            assert link.startswith(("#", "data:,")) or (report / link).is_file(), f"{name}: {link}"
        ids = page.attributes("id")
        assert len(ids) == len(set(ids)), name
        (policy,) = (a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
        assert policy.startswith("default-src 'none'")
        assert "http" not in policy


def test_markup_in_data_is_text_on_every_page(pages: dict[str, Page]) -> None:
    """No element, attribute or script comes of data; what was written is what is read."""
    known = {f"{name}.js" for name in ("theme", "report", "slides", "training", "atlas", "graph", "attention")}
    known |= {"colours.js", "pictures.js", "chooser.js", "scatter.js", "plotly.min.js"}
    for name, page in pages.items():
        assert {tag for tag, _ in page.elements} <= {
            *("html", "head", "meta", "title", "link", "script", "body", "a", "header", "p", "nav", "ul", "li", "h1"),
            *("h2", "h3", "button", "main", "dl", "dt", "dd", "div", "small", "table", "caption", "span", "thead"),
            *("tbody", "tfoot", "tr", "th", "td", "b", "label", "input", "details", "summary", "form", "select"),
            *("option", "output", "noscript", "fieldset", "legend", "figure", "figcaption", "img", "pre", "code"),
            *("svg", "defs", "style", "g", "path", "use", "text", "desc", "clippath", "rect"),
            *("section", "ul", "ol", "i"),
        }, name
        assert not [value for _, a in page.elements for value in a if value.startswith("on")], name
        sources = {a["src"] for tag, a in page.elements if tag == "script" and "src" in a}
        assert sources <= {f"assets/{script}" for script in known}, name
        assert all(a.get("type") == "application/json" for t, a in page.elements if t == "script" and "src" not in a)
        assert all(isinstance(json.loads(script), dict) for script in page.scripts)
        assert "49" not in page.words.split()
    said = {name: page.words for name, page in pages.items()}
    for text in HOSTILE:
        assert " ".join(text.split()) in said["results-toy.html"]  # caption
        assert " ".join(text.split()) in said["index.html"]
    assert f"{SCRIPT} {IMAGE} {TEMPLATE}" in said["slides-toy.html"]  # reason
    assert CLASSES[0] in said["results-toy.html"]  # on the axes of a figure
    assert CLASSES[1] in said["results-toy.html"]


def test_hostile_ids_and_labels_reach_the_script_of_the_page_unchanged(pages: dict[str, Page]) -> None:
    (text,) = pages["slides-tokens.html"].scripts
    assert "<" not in text
    assert ">" not in text
    data = json.loads(text)
    assert sorted(slide["slide"] for slide in data["slides"]) == sorted(HOSTILE)
    (text,) = pages["slides-toy.html"].scripts
    data = json.loads(text)
    assert {slide["labels"][COLUMN] for slide in data["slides"]} == set(CLASSES)
    assert [column["name"] for column in data["columns"]] == ["patient", COLUMN]


def test_the_table_of_slides_has_no_column_without_a_value(pages: dict[str, Page]) -> None:
    """A cohort of tokens knows neither pen nor readers; its sheet here has no line of these slides, so no patients."""
    data = json.loads(pages["slides-tokens.html"].scripts[0])
    assert set(data["numbers"]) == {"n_regions", "tissue_mm2", "slide_mpp"}
    assert (data["texts"], data["columns"]) == ({}, [])


def test_scripts_make_no_markup_of_data(report: Path) -> None:
    ours = [path for path in (report / "assets").glob("*.js") if path.name != "plotly.min.js"]
    assert len(ours) > 4
    for path in ours:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")  # a name, never asked for
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "fetch(", "http://"):
            assert word not in text, path.name


def test_file_names_come_of_no_data(report: Path) -> None:
    names = {str(path.relative_to(report)) for path in report.rglob("*") if path.is_file()}
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]+", name) for name in names)
    assert {f"slides/toy/{place}.jpg" for place in range(report_cases.N_SLIDES)} <= names
    assert not any(name.startswith("slides/tokens") for name in names)
    assert {
        f"figures/toy-dx-{kind}.{suffix}" for kind in ("folds", "roc", "calibration") for suffix in ("svg", "pdf")
    } <= names


def test_the_files_that_the_workflow_asks_for_are_all_that_is_read(
    report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With no other file of the results at hand, but tables and what runs and jobs took, the pages are the same."""
    experiment, results = report_cases.hostile_experiment(), Path("results/toy")
    sheets = read_sheets(experiment)
    files = report_files(experiment, sheets, Layout(results))
    batches = [path for path in files if path.parent.name == BATCHES]  # files of slides are beside them
    files += [file for path in batches for slide in sheets["toy"] for file in files_of_slide(path.parents[1], slide)]
    others = [path for folder in ("tables", "benchmarks") for path in (results / folder).rglob("*.*")]
    for path in [*files, *others]:
        if path.is_relative_to(results) and path.exists():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / path)
    for sheet in ("slides.csv", "tokens.csv"):
        shutil.copy(sheet, tmp_path)
    monkeypatch.chdir(tmp_path)
    again = report_cases.write_report(experiment)
    for page in PAGES:
        assert (again / page).read_text() == (report / page).read_text(), page


def test_pictures_take_no_second_place_on_the_disk(report: Path) -> None:
    picture = report / "slides/toy/0.jpg"
    assert picture.samefile(report.parent / "cohorts/toy/regions/overlays/s0.jpg")


def test_left_out_slides_stand_on_the_first_page_with_stage_and_reason(report: Path) -> None:
    left = rows(report / "data/left-out.csv")
    assert [(row["slide"], row["cohort"], row["stage"]) for row in left] == [
        ("s7", "toy", "segment_tissue"),
        (HOSTILE[-1], "tokens", "segment_tissue"),
    ]
    assert left[0]["reason"] == f"{SCRIPT} {IMAGE} {TEMPLATE}"


def test_what_is_shown_is_in_csv(report: Path) -> None:
    slides = rows(report / "data/slides-toy.csv")
    assert [row["slide"] for row in slides] == [f"s{place}" for place in range(report_cases.N_SLIDES)]
    assert [row["used"] for row in slides] == ["1"] * 7 + ["0"]
    confusion = rows(report / "data/toy-dx-confusion-knn.csv")
    of_slpd = [row for row in confusion if row["variant"] == "slpd"]
    assert sum(int(row["n_cases"]) for row in of_slpd) == 7
    assert sum(int(row["n_cases"]) for row in of_slpd if row["true"] == CLASSES[0]) == 4
    roc = rows(report / "data/toy-dx-roc.csv")
    assert {(row["head"], row["variant"]) for row in roc} == {
        (h, v) for h in ("abmil", "knn") for v in ("dino", "slpd")
    }
    curves = rows(report / "data/training-toy.csv")
    assert [(row["variant"], row["epoch"]) for row in curves[:4]] == [
        ("dino", "1"),
        ("dino", "2"),
        ("dino", "2"),
        ("dino", "3"),
    ]
    (cost,) = (row for row in rows(report / "data/costs.csv") if row["stage"] == "evaluate")
    assert float(cost["hours"]) == 2


def test_the_config_of_the_report_is_a_config(report: Path) -> None:
    experiment = report_cases.hostile_experiment()
    stored = yaml.safe_load((report / "data/config.yaml").read_text(encoding="utf-8"))
    assert load_experiment(stored) == experiment
    over_defaults = yaml.safe_load((toy.ROOT / "config/config.yaml").read_text())
    update_config(over_defaults, yaml.safe_load(config_yaml(experiment)))
    assert load_experiment(over_defaults) == experiment


def test_figures_can_be_edited_and_wear_the_pages_colours(report: Path) -> None:
    svg = (report / "figures/training-toy-losses.svg").read_text(encoding="utf-8")
    assert "L_intra (nats)" in svg  # text, not outlines
    page = (report / "training-toy.html").read_text(encoding="utf-8")
    assert "currentColor" in page
    assert "var(--c1)" in page
    assert 'role="img"' in page
    assert re.search(r'id="[^"]*curve-1-intra"', page)  # what the boxes of the page switch


@pytest.mark.slow
def test_equal_results_give_equal_figures(report: Path) -> None:
    again = report_cases.write_report(report_cases.hostile_experiment(), "again")
    for path in (report / "figures").iterdir():
        assert (again / "figures" / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_area_under_the_mean_curve_is_the_mean_auc() -> None:
    rng = np.random.default_rng(1)
    for n_classes in (2, 3):
        numbers = [np.arange(30) % n_classes for _ in range(4)]
        scores = [np.round(rng.dirichlet(np.ones(n_classes), 30) + np.eye(n_classes)[y], 1) for y in numbers]  # ties
        outputs = [one / one.sum(axis=1, keepdims=True) for one in scores]
        curve = mean_roc(numbers, outputs)
        given = [one[:, 1] if n_classes == 2 else one for one in outputs]
        aucs = [roc_auc_score(y, p, multi_class="ovr") for y, p in zip(numbers, given, strict=True)]
        assert auc(curve[:, 0], curve[:, 1]) == pytest.approx(np.mean(aucs), abs=1e-6)
        assert tuple(curve[0]) == (0, 0)
        assert tuple(curve[-1]) == (1, 1)
        assert (np.diff(curve, axis=0) >= -1e-12).all()


@pytest.mark.parametrize("n_variants", [1, 2, 7])
def test_confusion_has_room_for_long_names(n_variants: int) -> None:
    classes = ["invasive ductal carcinoma", "invasive lobular carcinoma"]
    with drawing():
        figure = draw_confusion({f"v{place}": np.ones((2, 2), np.int64) for place in range(n_variants)}, classes)
        figure.canvas.draw()
        sides = [axes.get_window_extent().width / figure.dpi for axes in figure.axes if axes.axison]
    assert min(sides) > 0.5  # inches


def test_folds_without_a_class_have_no_curve() -> None:
    assert mean_roc([np.zeros(3, np.int64)], [np.full((3, 2), 0.5)]).shape == (0, 2)


def test_costs_add_up() -> None:
    jobs = [JobCost("encode", "a", 3600, 7200, 900), JobCost("encode", "b", 1800, float("nan"), float("nan"))]
    encode, evaluate, total = stage_costs([*jobs, JobCost("evaluate", "x", 900, 900, 2000)], {"encode": 4})
    assert (encode.n_jobs, encode.hours, encode.longest_hours, encode.gpu_hours) == (2, 1.5, 1, 6)
    assert evaluate.gpu_hours == 0
    assert (total.hours, total.gpu_hours, total.cpu_hours, total.memory_gb) == (1.75, 6, 2.25, 2)
    assert stage_costs([], {}) == []


def test_benchmarks_too_short_to_measure_have_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "evaluate/dx/slpd/knn.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("s\th:m:s\tmax_rss\tcpu_time\n0.5\t0:00:00\t-\tNA\n")
    (cost,) = read_job_costs(tmp_path)
    assert (cost.stage, cost.job, cost.seconds) == ("evaluate", "dx slpd knn", 0.5)
    assert np.isnan(cost.memory_mb)
    assert read_job_costs(tmp_path / "none") == []


def epoch(**changes: float) -> EpochMetrics:
    healthy = {"loss": 1, "self_distillation": 1, "intra": 0, "inter": 0, "teacher_entropy": 3, "feature_spread": 0.5}
    rest = {"gradient_norm": 1, "learning_rate": 1, "weight_decay": 0, "teacher_momentum": 1}
    return EpochMetrics.of({"epoch": 1} | healthy | rest | changes)


def test_collapse_is_said() -> None:
    assert signs("v", [epoch()], 128) == []
    for changes in ({"feature_spread": 0.001}, {"teacher_entropy": 0.01}, {"teacher_entropy": np.log(128) - 0.01}):
        (text,) = signs("v", [epoch(**changes)], 128)
        assert text.startswith("v: ")
    assert "finite" in signs("v", [epoch(loss=float("nan")), epoch()], 128)[0]


@pytest.mark.parametrize("text", HOSTILE)
def test_embedded_json_cannot_be_left(text: str) -> None:
    embedded = str(to_json({"a": text, "b": [np.float32(1.5), float("nan")], "c": np.arange(2)}))
    assert not set("<>&\u2028\u2029") & set(embedded)
    assert json.loads(embedded) == {"a": text, "b": [1.5, None], "c": [0, 1]}
    script = data_script("data/1.js", text)
    call = script.removeprefix("slpdData(").removesuffix(");\n")
    assert json.loads(f"[{call}]") == ["data/1.js", text]


EVALUATED = [(variant, head) for variant in ("dino", "slpd") for head in ("abmil", "knn")]


@pytest.mark.slow
@pytest.mark.parametrize("failed", [EVALUATED[2:3], EVALUATED], ids=["one", "all"])
def test_an_evaluation_that_the_data_did_not_allow_says_why(
    failed: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment, results = report_cases.write_results(tmp_path), Path("results/toy")
    for variant, head in failed:
        why = f"fold 1 of {head} has no case of {SCRIPT}"
        report_cases.write_failed_evaluation(results / f"tasks/dx/{variant}/{head}", ("dx", variant, head), why)
    report_cases.write_table(experiment, results)
    report = report_cases.write_report(experiment)
    table = Page(report / "results-toy.html").words
    for variant, head in failed:
        assert f"Not evaluated: {head} on {variant}: fold 1 of {head} has no case of {SCRIPT}" in table
    assert f"fold 1 of abmil has no case of {SCRIPT}" in Page(report / "attention-dx-slpd-abmil.html").words
    assert (report / "data/toy-dx-roc.csv").exists() == (len(failed) < len(EVALUATED))


@pytest.mark.slow
def test_variants_that_are_trained_alike_share_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`slpd` is trained, its equal is what table and report name: nothing of it is missing, and pages say so."""
    monkeypatch.chdir(tmp_path)
    experiment, results = report_cases.write_results(tmp_path), Path("results/toy")
    config = experiment.model_dump(mode="json")
    config["variants"].append({"name": "alike"})
    config["tables"][0]["variants"] = ["dino", "alike"]
    config["report"]["variants"] = ["alike"]
    evaluated = (results / "tasks/dx/slpd").rename(results / "tasks/dx/alike")
    for path in evaluated.rglob("*.csv"):
        path.write_text(path.read_text(encoding="utf-8").replace(",slpd,", ",alike,"), encoding="utf-8")
    report = report_cases.write_report(load_experiment(config))
    assert {path.name for path in report.glob("*.html")} == PAGES
    assert "slpd = alike · toy" in Page(report / "index.html").words
    assert "on toy that of slpd, trained alike" in Page(report / "index.html").words
    assert "alike has the settings of slpd here" in Page(report / "training-toy.html").words


@pytest.mark.slow
def test_a_named_variant_without_pages_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = report_cases.write_results(tmp_path).model_dump(mode="json")
    config["report"]["variants"] = ["dino", "slpd"]
    words = Page(report_cases.write_report(load_experiment(config)) / "index.html").words
    assert "dino stands in report.variants and has no pages" in words
    assert "slpd stands in report.variants" not in words


def test_a_failed_report_leaves_the_last_one(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "report") as folder:
        (folder / "a").write_text("first")
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "report") as folder:
        (folder / "a").write_text("half")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert (tmp_path / "report/a").read_text() == "first"
    with atomic_folder(tmp_path / "report") as folder:
        (folder / "b").write_text("second")
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["b"]


def test_a_killed_report_is_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / f".report.{socket.gethostname()}.999999999.partial"
    left.mkdir()
    (left / "a").touch()
    with atomic_folder(tmp_path / "report") as folder:
        (folder / "a").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_experiment_is_checked_again(report: Path) -> None:
    assert isinstance(Experiment.from_json(report_cases.hostile_experiment().model_dump_json()), Experiment)
