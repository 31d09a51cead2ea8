"""The report in headless Chromium: every page, every control, from the disk and from a web server, without a network.

The run behind it is the toy's with names and labels that are markup: whatever is executed or loaded is a failure.
`REPORT=folder make test-browser` looks at a report that is there already (the demo's, say); what is known of the toy's
slides is not asked of it. Screenshots lie in screenshots/.
"""

import copy
import csv
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import toy

pytest.importorskip("playwright", reason="playwright is not installed: make setup")

import browser
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not browser.CHROMIUM.exists(), reason="no chromium: apt-get install chromium, as root"),
]

SCREENSHOTS = toy.ROOT / "screenshots"
GIVEN = os.environ.get("REPORT")
# Name -> width of the window in px, and what the system says of colours.
LOOKS: dict[str, tuple[int, Literal["light", "dark"]]] = {
    "light": (1280, "light"),
    "dark": (1280, "dark"),
    "narrow": (400, "light"),
}

# Names and labels of a hostile sheet. What a browser executes of them sets `window.executed`.
COLUMN = "<img src=x onerror=executed=1>"
CLASSES = ["<script>executed=1</script>", 'b"onmouseover="executed=1']
PATIENT = "p<svg onload=executed=1>"
FILE = "s<img src=x onerror=executed=1>"
BARCODE = "TCGA-05-4244-01Z-00-DX1.d4ff32cd-38cf-40ea-8213-45c2b100ac0"
CAPTION = "</script><img src=x onerror=executed=1>"


def hostile_config() -> dict[str, Any]:
    """The toy's config, with markup wherever a config may have text."""
    config = copy.deepcopy(toy.TOY)
    config["cohorts"][0]["sheet"] = "slides.csv"
    config["tasks"][0]["classes"] = CLASSES
    config["tables"][0]["caption"] = CAPTION
    return config


def make_hostile(folder: Path, make_slide: toy.MakeSlide) -> None:
    """The toy cohort, its labels, patients, files and a column renamed to markup."""
    toy.make_toy(folder, make_slide, hostile_config())
    with open(folder / "slides.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for i, row in enumerate(rows):
        path = Path("slides") / f"{FILE}{i}.tiff"
        (folder / row["path"]).rename(folder / path)
        row |= {"path": str(path), "patient": f"{PATIENT}{i}", "dx": CLASSES[i % 2], COLUMN: CLASSES[i // 5]}
        row["barcode"] = f"{BARCODE}{i}"
    with open(folder / "slides.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, make_slide: toy.MakeSlide) -> Path:
    """The folder of the report."""
    if GIVEN:
        return Path(GIVEN).resolve()
    folder = tmp_path_factory.mktemp("browser")
    make_hostile(folder, make_slide)
    run = toy.snakemake(folder, "--workflow-profile", str(toy.ROOT / "workflow/profiles/default"))
    assert run.returncode == 0, run.stdout + run.stderr
    return folder / "results/toy/report"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser, without a network."""
    with sync_playwright() as playwright:
        browser_ = playwright.chromium.launch(executable_path=str(browser.CHROMIUM), args=browser.WITHOUT_NETWORK)
        yield browser_
        browser_.close()


@pytest.fixture(scope="module", params=["file", "server"])
def root(request: pytest.FixtureRequest, report: Path) -> Iterator[str]:
    """The address of the report's folder: on the disk, and on a web server."""
    if request.param == "file":
        yield f"{report.as_uri()}/"
        return
    with browser.served(report) as address:
        yield address


@pytest.fixture
def disk(report: Path) -> str:
    """The address of the report's folder on the disk."""
    return f"{report.as_uri()}/"


def opened(
    chromium: Browser, root: str, width: int = 1280, scheme: Literal["light", "dark"] = "light"
) -> tuple[BrowserContext, Page, browser.Watch]:
    """A page in a context of its own, watched; from the disk the browser is told that it is offline."""
    size: ViewportSize = {"width": width, "height": 900}
    context = chromium.new_context(offline=root.startswith("file:"), viewport=size, color_scheme=scheme)
    context.set_default_timeout(600_000)  # ms: a page is there in one second
    watch = browser.Watch(root)
    watch.follow(context)
    return context, context.new_page(), watch


def executed(page: Page) -> bool:
    """Whether data of the sheet or config were executed as markup."""
    return bool(page.evaluate("() => 'executed' in window"))


def test_every_page_and_control_works(chromium: Browser, root: str, report: Path) -> None:
    context, page, watch = opened(chromium, root)
    names = []
    for name in browser.every_page(page, root):
        names.append(name)
        browser.settle(page)
        assert browser.linked_files(page, report) == [], name
        browser.use_every_control(page)
        watch.check(name)
        assert not executed(page), f"{name}: data were executed"
    context.close()
    assert set(names) == {path.name for path in report.glob("*.html")}, "pages that no link leads to"


@pytest.mark.parametrize("look", LOOKS)
def test_every_page_can_be_read(chromium: Browser, disk: str, look: str) -> None:
    """Contrast, names, headings, the width of a telephone; screenshots."""
    width, scheme = LOOKS[look]
    context, page, watch = opened(chromium, disk, width, scheme)
    faults = []
    SCREENSHOTS.mkdir(exist_ok=True)
    for name in browser.every_page(page, disk):
        browser.settle(page)
        page.screenshot(path=SCREENSHOTS / f"{Path(name).stem}-{look}.png", full_page=True)
        found = browser.structure_faults(page) + browser.checked(page, "contrast")
        if page.evaluate("() => document.documentElement.scrollWidth > innerWidth + 1"):
            found.append("the page is wider than the window")
        faults += [f"{name}: {fault}" for fault in found]
    assert not faults, "\n".join(faults)
    watch.check(look)
    context.close()


def test_the_tab_key_reaches_every_control(chromium: Browser, disk: str) -> None:
    context, page, _ = opened(chromium, disk)
    faults = []
    for name in browser.every_page(page, disk):
        browser.settle(page)
        faults += [f"{name}: {fault}" for fault in browser.tab_faults(page)]
    assert not faults, "\n".join(faults)
    context.close()


def test_the_theme_is_kept_from_page_to_page(chromium: Browser, root: str) -> None:
    context, page, _ = opened(chromium, root)
    page.goto(root + "index.html")
    background = "() => getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(background)
    theme = page.locator("#theme")
    while "dark" not in theme.inner_text():
        theme.click()
    dark = page.evaluate(background)
    assert dark != light
    with page.expect_navigation():
        page.locator("nav a").last.click()
    browser.settle(page)
    assert page.evaluate(background) == dark
    context.close()


def test_filters_of_tables_show_what_they_should(chromium: Browser, disk: str) -> None:
    """Of every table with a filter: the words of a row leave the rows that have these words."""
    context, page, _ = opened(chromium, disk)
    n_filters = 0
    for name in browser.every_page(page, disk):
        for box in page.locator("input[data-filter]").all():
            if not box.is_visible():
                continue
            table = box.locator("xpath=ancestor::*[contains(concat(' ', @class, ' '), ' table ')][1]").locator("table")
            texts = [" ".join(text.split()).lower() for text in table.locator("tbody tr").all_text_contents()]
            cell = table.locator("tbody tr").last.locator("th, td").first.inner_text()
            box.fill(cell)
            shown = table.locator("tbody tr:visible").count()
            words = cell.lower().split()
            assert shown == sum(all(word in text for word in words) for text in texts), f"{name}: {cell}"
            box.fill("no row has this")
            assert table.locator("tbody tr:visible").count() == 0, name
            box.fill("")
            assert table.locator("tbody tr:visible").count() == len(texts), name
            n_filters += 1
    assert n_filters
    context.close()


def test_tables_sort_by_every_column(chromium: Browser, disk: str) -> None:
    """Numbers by size, texts by letters, the other way at the second click; without a loss of rows."""
    context, page, _ = opened(chromium, disk)
    n_columns = 0
    for name in browser.every_page(page, disk):
        for table in page.locator("table[data-sortable]").all():
            rows = sorted(table.locator("tbody tr").all_text_contents())
            for place, head in enumerate(table.locator("thead tr").last.locator("th").all()):
                if not head.is_visible():
                    continue
                for direction in ("ascending", "descending"):
                    head.locator("button").click()
                    assert head.get_attribute("aria-sort") == direction, name
                    values = column(table.locator("tbody tr").all(), place)
                    numbers = [float(value.replace("−", "-")) for value in values if NUMBER.fullmatch(value)]
                    if len(numbers) == len(values):
                        assert numbers == sorted(numbers, reverse=direction == "descending"), f"{name}: {values}"
                assert sorted(table.locator("tbody tr").all_text_contents()) == rows, name
                n_columns += 1
    assert n_columns
    context.close()


NUMBER = re.compile(r"[-−]?\d+(\.\d+)?")


def column(rows: list[Any], place: int) -> list[str]:
    """What the cells of a column sort by."""
    cells = [row.locator("th, td").nth(place) for row in rows]
    return [str(cell.get_attribute("data-value") or cell.inner_text()).strip() for cell in cells]


def read_rows(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_filters_of_slides_leave_those_of_the_csv(chromium: Browser, disk: str, report: Path) -> None:
    """Each value of each filter, against the file of all slides: as pictures and as a table, one filter at a time."""
    context, page, watch = opened(chromium, disk)
    n_chosen = 0
    for path in report.glob("slides-*.html"):
        page.goto(disk + path.name)
        rows = read_rows(report / str(page.get_attribute("a[download]", "href")))
        selects = {
            f"#columns select >> nth={i}": page.locator("#columns select").nth(i).get_attribute("data-column")
            for i in range(page.locator("#columns select").count())
        }
        for place, column in selects.items():
            assert column
            for value in sorted({row[column] for row in rows})[:3]:
                page.select_option(place, json.dumps(value))
                expected = sum(row[column] == value for row in rows)
                assert page.inner_text("#shown") == f"{expected} of {len(rows)} slides", (column, value)
                assert page.locator("#cards > li:visible").count() == min(expected, 60)
                n_chosen += 1
            page.select_option(place, "")
        for status, used in (("used", "1"), ("left", "0")):
            page.select_option("#status", status)
            expected = sum(row["used"] == used for row in rows)
            assert page.inner_text("#shown") == f"{expected} of {len(rows)} slides"
        page.select_option("#status", "")
        page.fill("#find", rows[0]["slide"])
        assert page.locator("#cards > li:visible h3").first.inner_text() == rows[0]["slide"]
        page.fill("#find", "")
        page.select_option("#order", "fewest")
        names = page.locator("#cards > li:visible h3").all_inner_texts()
        regions = {row["slide"]: int(row["n_regions"] or -1) for row in rows}
        assert [regions[name] for name in names] == sorted(regions.values())[: len(names)]
    assert n_chosen
    watch.check("slides")
    context.close()


# Cells of a table whose text stands on several lines; reasons may, they are sentences.
BROKEN_CELLS = """() => [...document.querySelectorAll("#rows :is(th, td):not(.bad)")].filter(cell => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return new Set([...range.getClientRects()].map(line => line.top)).size > 1;
}).map(cell => cell.textContent)"""
WIDTHS = """() => [document.documentElement.scrollWidth - innerWidth, document.getElementById("rows").clientWidth,
    document.getElementById("rows").scrollWidth]"""


@pytest.mark.parametrize("look", LOOKS)
def test_the_table_of_slides_breaks_no_names_and_scrolls_within_the_page(
    chromium: Browser, disk: str, report: Path, look: str
) -> None:
    context, page, watch = opened(chromium, disk, *LOOKS[look])
    for path in report.glob("slides-*.html"):
        page.goto(disk + path.name)
        if page.locator("#view").count():
            page.select_option("#view", "table")
        assert page.locator("#rows tbody tr").count(), path.name
        assert page.evaluate(BROKEN_CELLS) == [], path.name
        beyond, shown, whole = page.evaluate(WIDTHS)
        assert beyond <= 1, f"{path.name}: the page is wider than the window"
        assert look != "narrow" or whole > shown, f"{path.name}: the table is narrower than a telephone"
    watch.check("table of slides")
    context.close()


def test_the_graph_shows_the_neighbours_of_the_chosen_slide(chromium: Browser, disk: str, report: Path) -> None:
    """For every slide of every graph: those of graph.npz, in its order; the matched pairs are its correspondence."""
    context, page, watch = opened(chromium, disk)
    graphs = sorted(report.parent.glob("cohorts/*/variants/*/graph.npz"))
    n_pairs = 0
    for path in graphs:
        name = f"graph-{path.parents[2].name}-{path.parent.name}.html"
        if not (report / name).exists():
            continue
        graph = np.load(path)
        page.goto(disk + name)
        page.wait_for_selector("html[data-ready]")
        for slide, neighbours, correspondence in zip(
            graph["slides"].astype(str)[:12], graph["neighbours"][:12], graph["correspondence"][:12], strict=True
        ):
            choose_slide(page, slide)
            expected = [str(graph["slides"].astype(str)[other]) for other in neighbours if other >= 0]
            shown = [
                text.split(" — ")[0].split(". ", 1)[1] for text in page.locator("#neighbours button").all_inner_texts()
            ]
            assert shown == expected, slide
            if expected:
                n_pairs += 1
                page.wait_for_function(TWO_NAMES, arg=[slide, expected[0]])
                pairs = page.evaluate(PAIRS)
                assert sorted(pairs) == [[k + 1, int(other) + 1] for k, other in enumerate(correspondence[0])], slide
    assert n_pairs or GIVEN
    watch.check("graph")
    context.close()


TWO_NAMES = (
    """names => ["pair-left", "pair-right"].every((id, i) => document.getElementById(id).textContent === names[i])"""
)
PAIRS = """() => [...document.querySelectorAll("#pair-rows tr")]
    .map(row => [...row.querySelectorAll(".badge")].map(badge => Number(badge.textContent)))"""


def choose_slide(page: Page, slide: str) -> None:
    """Choose a slide as one who knows its name does."""
    box = page.locator("#choose input, #choose select").first
    if box.evaluate("one => one.tagName") == "SELECT":
        box.select_option(label=slide)
    else:
        box.fill(slide)
        box.press("Enter")
    page.wait_for_function("name => document.getElementById('slide-title').textContent === name", arg=slide)


@pytest.mark.skipif(bool(GIVEN), reason="another run's report")
def test_hostile_names_are_shown_as_text(chromium: Browser, disk: str) -> None:
    """Each of them stands somewhere as it is written."""
    context, page, _ = opened(chromium, disk)
    texts = ""
    for _ in browser.every_page(page, disk):
        texts += page.evaluate(
            "() => document.body.textContent + [...document.querySelectorAll('[aria-label], [alt]')]"
            ".map(one => `${one.ariaLabel} ${one.alt}`).join(' ')"
        )
    context.close()
    for hostile in (CAPTION, CLASSES[0]):
        assert hostile in texts, hostile
