"""How long the pages of maps take to open, and what they load for it, at 1,000 and 10,000 slides.

    python -m benchmarks.report [--slides 1000 10000] [--chromium /usr/bin/chromium]

Pages are opened from disk by headless Chromium, each time in a fresh profile: from navigation to the moment that the
first slide is shown and others can be chosen, and to the moment that the map of all is drawn too (the page's own
marks). Bytes: of every file that was asked for until then. Baseline: a page that loads plotly and nothing else. Goals,
at 1,000 slides: used after less than 2 s, less than 50 MB.
"""

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from playwright.sync_api import Browser, Error, Request, sync_playwright

from benchmarks.report_cohort import draw_pictures, draw_results
from slpd.plots.style import drawing
from slpd.report.site import HOME, Link, Site
from slpd.report.variant_pages import write_variant

GOAL_SECONDS, GOAL_MB = 2.0, 50.0
REPEATS = 5
N_NEAREST, N_CASES = 8, 5  # the config's
PAGES = {
    "atlas": "prototypes-cohort-slpd.html",
    "graph": "graph-cohort-slpd.html",
    "attention": "attention-subtype-slpd-abmil.html",
}
READY = "document.documentElement.dataset.ready === 'yes'"
MARKS = "['usable', 'ready'].map((name) => performance.getEntriesByName(name)[0].startTime)"
TIMED = """(async () => {
    const start = performance.now();
    await %s;
    await new Promise(requestAnimationFrame);
    return performance.now() - start;
})()"""
BLANK = (
    "<!DOCTYPE html><script src='assets/plotly.min.js'></script>"
    "<script>performance.mark('usable'); performance.mark('ready');"
    "document.documentElement.dataset.ready = 'yes'</script>"
)


def main() -> None:
    """Write, open, measure, print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slides", type=int, nargs="+", default=[1000, 10000])
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    parser.add_argument("--keep", type=Path, help="folder to leave the reports in")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=["--no-sandbox"])
        figures = {str(n): measure(browser, (args.keep or Path(name)) / str(n), n) for n in args.slides}
    print(json.dumps({"goals": {"seconds": GOAL_SECONDS, "megabytes": GOAL_MB}, "slides": figures}))


def measure(browser: Browser, folder: Path, n_slides: int) -> dict[str, object]:
    """Figures of a cohort's pages."""
    started = time.perf_counter()
    write_report(folder, n_slides)
    figures: dict[str, object] = {"seconds to draw and write": round(time.perf_counter() - started, 1)}
    (folder / "blank.html").write_text(BLANK)
    blank = opened(browser, folder / "blank.html")
    figures["blank page with plotly"] = blank
    for name, page in PAGES.items():
        found = opened(browser, folder / page)
        found["times the blank page"] = round(found["seconds with the map"] / blank["seconds"], 1)
        if name != "attention":
            found |= used(browser, folder / page)
        met = found["seconds"] < GOAL_SECONDS and found["megabytes"] < GOAL_MB
        print(
            f"{n_slides:6} slides, {name:9} {found} {'' if n_slides > 1000 else 'goals met' if met else 'MISSED'}",
            flush=True,
        )
        figures[name] = found
    return figures


def write_report(folder: Path, n_slides: int) -> None:
    """Write the pages of a drawn cohort."""
    found = draw_results(n_slides)
    pages = [Link(HOME, "Summary"), *(Link(page, name, "slpd · cohort") for name, page in PAGES.items())]
    site = Site(folder, "benchmark", pages)
    thumbnail, sheet = draw_pictures(folder / "sources")
    for slide in found.view.slides:
        site.link_file(thumbnail, f"thumbnails/cohort/{slide.number}.jpg")
        site.link_file(sheet, f"regions/cohort/{slide.number}.jpg")
    with drawing():
        write_variant(site, found, N_NEAREST, N_CASES)


def opened(browser: Browser, page: Path) -> dict[str, float]:
    """Median seconds until a page can be used and until its map is drawn; megabytes and number of files asked for."""
    seconds = []
    for _ in range(REPEATS):
        tab = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
        errors: list[Error] = []
        requests: list[Request] = []
        tab.on("pageerror", partial(errors.append))  # playwright sets an attribute, which built-in methods refuse
        tab.on("request", partial(requests.append))
        tab.goto(page.as_uri())
        tab.wait_for_function(READY, timeout=120_000)
        seconds.append(tab.evaluate(MARKS))
        assert not errors, errors
        tab.context.close()
    asked = {request.url for request in requests}
    files = [Path(unquote(urlsplit(url).path)) for url in asked if url.startswith("file:")]
    size = sum(file.stat().st_size for file in files)
    usable, ready = (round(statistics.median(times) / 1000, 2) for times in zip(*seconds, strict=True))
    return {"seconds": usable, "seconds with the map": ready, "megabytes": round(size / 1e6, 1), "files": len(files)}


def used(browser: Browser, page: Path) -> dict[str, float]:
    """Seconds from choosing a slide, or a column, to its being drawn."""
    tab = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    tab.goto(page.as_uri())
    tab.wait_for_function(READY, timeout=120_000)
    figures = {
        "choose a slide": tab.evaluate(TIMED % "showSlide(7)"),
        "choose a column": tab.evaluate(TIMED % "(colours.select.value = 1, colours.apply())"),
    }
    tab.context.close()
    return {name: round(value / 1000, 2) for name, value in figures.items()}


if __name__ == "__main__":
    main()
