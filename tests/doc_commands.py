"""The Markdown files of the project as data: their commands, code blocks, links, anchors and inline code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
# First words that make a line of a code block, or inline code of several words, a command.
PROGRAMS = {
    *(
        "apptainer",
        "awk",
        "cd",
        "docker",
        "gdc-client",
        "git",
        "make",
        "pytest",
        "python",
        "snakemake",
        "source",
        "squeue",
    ),
    *("tensorboard", "tmux"),
}
PAGES = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "config/README.md", "benchmarks/README.md"]
# Commands that are only named: that they exist is what can be checked.
NAME = re.compile(r"make [\w-]+|python -m slpd \w+|python -m benchmarks\.\w+")
ITEM = re.compile(r"^( *)(?:[-*]|\d+\.) +")


@dataclass(frozen=True)
class Command:
    """A command of a page, without its comment, in one line."""

    page: str
    text: str


def pages() -> list[Path]:
    """Every page that is written by hand or made."""
    return [*(ROOT / page for page in PAGES), *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[Command]:
    """The commands of a page, in its order: lines of its code blocks, then those within its text."""
    name = str(page.relative_to(ROOT))
    text = page.read_text(encoding="utf-8")
    found = [line for block in code_blocks(text) if is_shell(block) for line in logical_lines(block)]
    found += [code for code in inline_code(text) if is_command(code) and " " in code and not NAME.fullmatch(code)]
    return [Command(name, line) for line in dict.fromkeys(found)]


def code_blocks(text: str) -> Iterator[str]:
    """The fenced and the indented code blocks of a page, without their indentation."""
    yield from re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    least, block, blank = 4, list[str](), True
    for line in [*without_fences(text).splitlines(), "end"]:
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent >= least and (block or blank):
            block.append(line)
        elif line.strip() or not block:
            if block:
                yield "\n".join(one[min(len(one) - len(one.lstrip()) for one in block) :] for one in block)
            block = []
            item = ITEM.match(line)
            least = 4 + (item.end() if item else 0 if line.strip() and indent == 0 else least - 4)
        blank = not line.strip()


def without_fences(text: str) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def is_shell(block: str) -> bool:
    """Whether a block is typed into a shell: then every line of it must be a command."""
    return is_command(block.splitlines()[0])


def is_command(line: str) -> bool:
    """Whether a line begins with a program."""
    return line.split(" ", maxsplit=1)[0] in PROGRAMS


def logical_lines(block: str) -> Iterator[str]:
    r"""The commands of a block: lines that end in `\` joined with the next, comments left out."""
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        bare = re.sub(r"(^|\s+)# .*$", "", line).strip()
        if bare:
            yield bare


def inline_code(text: str) -> list[str]:
    """What stands between backticks in the text of a page."""
    prose = "\n".join(line for line in without_fences(text).splitlines() if not line.startswith("    "))
    return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose)]


def links(text: str) -> list[str]:
    """The targets of a page's links and pictures."""
    prose = re.sub(r"`[^`\n]+`", "", without_fences(text))
    return re.findall(r"\]\(([^)\s]+)\)", prose)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", without_fences(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
