"""A real browser on a report: what it loads, what it complains about, and what a person would do on its pages."""

import functools
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request

CHROMIUM = Path("/usr/bin/chromium")
WITHOUT_NETWORK = [
    "--no-sandbox",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
OPTIONS_TRIED = 4  # of a select: the first ones and the last
CONTROLS = "button, select, input:not([type=hidden]), textarea, summary, [role=tab], [role=button], [role=slider]"


@dataclass
class Watch:
    """Everything that went wrong in a browser, or left the report's folder."""

    root: str  # address of the folder, with a slash at its end
    faults: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def follow(self, context: BrowserContext) -> None:
        """Listen to every page of a context."""
        context.on("request", self.on_request)
        context.on("requestfailed", lambda request: self.faults.append(f"failed: {request.url} {request.failure}"))
        context.on(
            "response", lambda answer: answer.status < 400 or self.faults.append(f"{answer.status}: {answer.url}")
        )
        context.on("console", self.on_console)
        context.on("weberror", lambda error: self.faults.append(f"script: {error.error}"))
        context.on("dialog", lambda dialog: (self.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def on_request(self, request: Request) -> None:
        """Note a request; one that leaves the folder is a fault."""
        self.requested.append(request.url)
        if not request.url.startswith((self.root, "data:", f"blob:{self.root[:7]}", "blob:null")):
            self.faults.append(f"outside of the report: {request.url}")

    def on_console(self, message: ConsoleMessage) -> None:
        """Errors and warnings of the console are faults."""
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def check(self, where: str) -> None:
        """Nothing has gone wrong so far."""
        assert self.faults == [], where


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server on loopback that serves a folder."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()


def every_page(page: Page, root: str) -> Iterator[str]:
    """Open every page that links lead to, from index.html on; its name. Links to other files must lead to some."""
    waiting, seen = ["index.html"], {"index.html"}
    while waiting:
        name = waiting.pop(0)
        page.goto(root + name)
        for target in page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))"):
            address, _ = urldefrag(urljoin(root + name, target))
            assert address.startswith(root), f"{name}: a link out of the report: {target}"
            inside = unquote(address.removeprefix(root))
            if inside not in seen and inside.endswith(".html"):
                waiting.append(inside)
            seen.add(inside)
        yield name


def linked_files(page: Page, folder: Path) -> list[str]:
    """The files that a page links to and that are not there."""
    targets = page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))")
    files = {unquote(urldefrag(target)[0]) for target in targets} - {""}
    return sorted(name for name in files if not (folder / name).is_file())


MAPS_ARE_DRAWN = (
    """() => !document.querySelector("script[src$='scatter.js']") || "ready" in document.documentElement.dataset"""
)


def settle(page: Page) -> None:
    """Wait until scripts that were asked for have come and the page is drawn."""
    page.wait_for_load_state("load")
    page.wait_for_function(MAPS_ARE_DRAWN)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def use_every_control(page: Page) -> list[str]:
    """Use every control that shows, also those that others bring up; what was used."""
    used: list[str] = []
    place = 0
    while place < page.locator(CONTROLS).count():
        control = page.locator(CONTROLS).nth(place)
        if control.is_visible() and control.is_enabled():
            used.append(control.evaluate("one => one.outerHTML.slice(0, 120)"))
            use(page, control)
            settle(page)
            close_dialogue(page)
        place += 1
    return used


def close_dialogue(page: Page) -> None:
    """Close a dialogue that a control opened, by the key for it."""
    if page.locator("dialog[open]").count():
        page.keyboard.press("Escape")
        settle(page)
        assert page.locator("dialog[open]").count() == 0, "Escape does not close the dialogue"


def use(page: Page, control: Locator) -> None:
    """Do with a control what it is for."""
    tag = control.evaluate("one => one.tagName.toLowerCase()")
    kind = control.get_attribute("type") or "text"
    if tag == "select":
        choose(page, control)
    elif tag == "input" and kind in ("checkbox", "radio"):
        control.click()
        if kind == "checkbox":
            control.click()
    elif tag == "input" and kind == "range":
        for key in ("End", "Home"):
            control.press(key)
            settle(page)
    elif tag == "input" and kind == "number":
        for key in ("ArrowUp", "ArrowDown"):
            control.press(key)
    elif tag in ("input", "textarea"):
        for text in ("no such text", ""):
            control.fill(text)
            settle(page)
    else:
        control.click()


def choose(page: Page, control: Locator) -> None:
    """Choose several options of a select, and the first choice again."""
    chosen = control.input_value()
    values = control.evaluate("one => [...one.options].filter(option => !option.disabled).map(option => option.value)")
    for value in [*values[:OPTIONS_TRIED], *values[OPTIONS_TRIED:][-1:], chosen]:
        control.select_option(value)
        settle(page)


# ---- accessibility -------------------------------------------------------------------------------------------------

CHECKS = (Path(__file__).parent / "page_checks.js").read_text()
NAMED = {"button", "link", "textbox", "searchbox", "combobox", "checkbox", "radio", "slider", "spinbutton", "tab"}
PICTURES = {"image", "img", "graphics-document"}


def checked(page: Page, check: str) -> Any:  # noqa: ANN401  # what the check returns
    """The answer of a check of page_checks.js."""
    return page.evaluate(f"() => {{ {CHECKS} return checks.{check}(); }}")


def nameless(page: Page) -> list[str]:
    """Controls and pictures of the browser's own accessibility tree that have no name."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    found = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    return [role for role, name in found if role in NAMED | PICTURES and not name.strip()]


def structure_faults(page: Page) -> list[str]:
    """What lacks of language, title, headings in order, descriptions of pictures, captions and heads of tables."""
    faults = []
    if not page.get_attribute("html", "lang"):
        faults.append("no lang")
    if not page.title().strip():
        faults.append("no title")
    levels = checked(page, "headings")
    if levels[:1] != [1] or levels.count(1) != 1:
        faults.append(f"one h1 should begin the page: {levels}")
    faults += [f"h{above} is followed by h{level}" for above, level in pairwise(levels) if level > above + 1]
    faults += [f"picture without alt: {one}" for one in checked(page, "withoutAlt")]
    faults += [f"table without caption or scope: {one}" for one in checked(page, "plainTables")]
    return faults + [f"{role} without a name" for role in nameless(page)]


def tab_faults(page: Page, most: int = 150) -> list[str]:
    """What the Tab key does not reach in the order of the page, or reaches without showing it."""
    expected = checked(page, "focusable")
    faults = []
    page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    for place in range(min(expected, most)):
        page.keyboard.press("Tab")
        reached, seen, what = checked(page, "focused")
        while reached == "scrolls":
            page.keyboard.press("Tab")
            reached, seen, what = checked(page, "focused")
        if reached != str(place):
            return [*faults, f"Tab {place + 1} reaches {reached} of {expected}: {what}"]
        if not seen:
            faults.append(f"focus cannot be seen on {what}")
    return faults
