"""The report in headless Chromium: every page, every control, from the disk and from a web server, without a network.

The run behind it is the toy's with names and labels that are markup: whatever is executed or loaded is a failure.
`REPORT=folder make test-browser` looks at a report that is there already (the demo's, say); what is known of the toy's
slides is not asked of it. Screenshots lie in screenshots/.
"""

import copy
import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import toy

pytest.importorskip("playwright", reason="playwright is not installed: make setup")

import browser
from playwright.sync_api import Browser, BrowserContext, Page, ViewportSize, sync_playwright

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),
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
    context.set_default_timeout(10_000)
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
    assert faults == []
    watch.check(look)
    context.close()


def test_the_tab_key_reaches_every_control(chromium: Browser, disk: str) -> None:
    context, page, _ = opened(chromium, disk)
    faults = []
    for name in browser.every_page(page, disk):
        browser.settle(page)
        faults += [f"{name}: {fault}" for fault in browser.tab_faults(page)]
    assert faults == []
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
    page.locator("nav a").last.click()
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
