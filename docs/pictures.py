"""Take the README's pictures of a report, with Chromium: `python docs/pictures.py results/demo/report`."""

import re
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

# Picture -> page, by the beginning of its name, and the part of the page that is in view.
PICTURES = {
    "summary.jpg": ("index", ".findings"),
    "prototypes.jpg": ("prototypes-", "#slide"),
    "graph.jpg": ("graph-", "#map"),
    "attention.jpg": ("attention-", "#case-title"),
}
OUT = Path(__file__).parent / "pictures"


def main(report: Path) -> None:
    """Write every picture to docs/pictures."""
    OUT.mkdir(exist_ok=True)
    on_first_page = re.search(r"in slide (\S+):", (report / "index.html").read_text(encoding="utf-8"))
    chosen = f"#slide={on_first_page[1]}" if on_first_page else ""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        for name, (page_name, part) in PICTURES.items():
            page.goto(sorted(report.resolve().glob(f"{page_name}*.html"))[0].as_uri() + chosen)
            if page_name != "index":  # pages with maps say when these are drawn
                page.wait_for_selector("html[data-ready]", state="attached")
            page.eval_on_selector(
                part, "part => window.scrollTo(0, part.getBoundingClientRect().top + window.scrollY - 64)"
            )
            page.wait_for_timeout(1000)  # pictures are loaded when they come into view
            page.screenshot(path=OUT / name, type="jpeg", quality=80)
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
